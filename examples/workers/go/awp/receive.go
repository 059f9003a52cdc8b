package awp

import (
	"errors"
	"fmt"
	"maps"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// receive takes what one recvmsg gave.
func (s *session) receive(data []byte, fds []int, truncated bool) {
	if s.state == proto.StateClosed {
		closeFDs(fds)
		return
	}
	s.buf = append(s.buf, data...)
	if len(fds) > 0 || truncated {
		s.arrived.add(fds, truncated)
		s.strays()
	}
	rest := s.buf
	for s.state != proto.StateClosed && len(rest) >= proto.HeaderSize {
		h, ok := s.checkHeader(rest[:proto.HeaderSize])
		if !ok {
			return
		}
		end := proto.HeaderSize + int(h.length)
		if len(rest) < end {
			break
		}
		s.frame(h, rest[:proto.HeaderSize], rest[proto.HeaderSize:end])
		rest = rest[end:]
	}
	if s.state == proto.StateClosed {
		return
	}
	s.buf = s.buf[:copy(s.buf, rest)]
	if len(s.buf) == 0 && cap(s.buf) > 32*enough {
		s.buf = nil // a large frame has passed
	}
	s.acknowledge()
}

// checkHeader looks at a header before anything of its body is kept (AWP-FR-4, AWP-FR-5).
func (s *session) checkHeader(raw []byte) (header, bool) {
	h, ok := parseHeader(raw)
	switch {
	case !ok:
		s.abort(proto.AbortBadSignature, "this is not the header of a frame", raw)
	case uint64(h.length) > uint64(s.local.MaxFrame):
		s.abort(proto.AbortFrameTooLarge, fmt.Sprintf("%d bytes, %d are allowed", h.length, s.local.MaxFrame), raw)
	case h.nfds > 0 && (h.nfds > s.local.MaxFDs || !s.takesHandles()):
		s.abort(proto.AbortFDViolation, "descriptors where there may be none, or too many", raw)
	default:
		return h, true
	}
	return h, false
}

func (s *session) takesHandles() bool {
	return s.state >= proto.StateActive && s.caps[proto.CapabilityHandle]
}

// strays ends a connection on which descriptors come that nobody asked for (AWP-FD-6).
func (s *session) strays() {
	switch n := s.arrived.unclaimed; {
	case n > 0 && !s.takesHandles():
		s.abort(proto.AbortFDViolation, "descriptors where there may be none", nil)
	case n > 4*s.local.MaxFDs:
		s.abort(proto.AbortFDViolation, "descriptors that no frame declares", nil)
	}
}

// frame takes one whole frame, by the table of section 18.
func (s *session) frame(h header, raw, bytes []byte) {
	action, next := proto.WorkerReceives(s.state, h.kind)
	info, known := h.kind.Info()
	fds, arrived := []int(nil), true
	if h.nfds > 0 {
		fds, arrived = s.arrived.claim(h.nfds)
	}
	switch {
	case len(fds) > h.nfds, h.nfds > 0 && known && !info.Handles:
		closeFDs(fds)
		s.abort(proto.AbortFDViolation, fmt.Sprintf("%d descriptors with %v", len(fds), h.kind), raw)
		return
	case action == proto.ActionIgnore:
		closeFDs(fds)
		return
	case action == proto.ActionAbort:
		closeFDs(fds)
		s.abort(proto.AbortStateViolation, fmt.Sprintf("%v in %v", h.kind, s.state), raw)
		return
	case !known:
		closeFDs(fds)
		s.stranger(h)
		return
	}
	if wrong := s.misplaced(h, info); wrong != "" {
		closeFDs(fds)
		s.abort(proto.AbortProtocolError, fmt.Sprintf("%v %s", h.kind, wrong), raw)
		return
	}
	f := &frame{header: h, raw: raw, fds: fds, lost: !arrived, refuse: action == proto.ActionRefuse}
	if info.Body != proto.BodyOpaque {
		f.body, f.broken = splitBody(bytes)
		if f.broken != nil && (info.Body == proto.BodyControl || !errors.Is(f.broken, msgpack.ErrNotMsgpack)) {
			closeFDs(fds)
			code := proto.AbortBadLength
			if errors.Is(f.broken, msgpack.ErrNotMsgpack) {
				code = proto.AbortProtocolError
			}
			s.abort(code, f.broken.Error(), raw)
			return
		}
	}
	s.state = next
	s.deliver(f, bytes)
}

// stranger answers a kind that is unknown (AWP-EV-2).
func (s *session) stranger(h header) {
	if !h.has(proto.FlagOptional) {
		s.answer(proto.KindUnimplemented, h.channel, []any{uint8(h.kind)}, nil)
		if s.unknown++; s.unknown > 1000 {
			s.abort(proto.AbortLimitExceeded, "more than 1000 unknown frames", nil)
		}
	}
}

// misplaced says what is wrong with a frame's flags, capability or channel, "" if nothing is.
func (s *session) misplaced(h header, info proto.KindInfo) string {
	inPieces := h.has(proto.FlagFrag)
	isMessage := h.kind == proto.KindTell || h.kind == proto.KindCall || h.kind == proto.KindReply
	switch {
	case info.Capability != "" && !s.caps[info.Capability]:
		return "needs a capability that is not in force"
	case h.has(proto.FlagMore) && !inPieces, inPieces && !isMessage:
		return "cannot come in fragments like this"
	case inPieces && !s.caps[proto.CapabilityFrag]:
		return "comes in fragments, which are not in force"
	}
	onZero := h.channel == 0
	switch info.Channel {
	case proto.ChannelZero:
		if !onZero {
			return "has no channel"
		}
	case proto.ChannelOptional:
		if onZero == inPieces {
			return "has a channel in fragments, and no other"
		}
	case proto.ChannelOpens, proto.ChannelUses:
		if onZero {
			return "needs a channel"
		}
	}
	return ""
}

// frame is one that the tables let pass.
type frame struct {
	header
	body
	raw    []byte
	fds    []int
	lost   bool  // its descriptors did not arrive
	refuse bool  // not to be begun
	broken error // its body is no msgpack
}

// malformed is a control frame that is not shaped as its kind demands (AWP-FR-6).
var malformed = errors.New("not shaped as its kind demands")

func (s *session) deliver(f *frame, bytes []byte) {
	switch f.kind {
	case proto.KindPing:
		s.pong(f, bytes)
		return
	case proto.KindPong:
		return
	case proto.KindTell, proto.KindCall, proto.KindReply:
		s.takeMessage(f)
		return
	case proto.KindError:
		s.takeError(f)
		return
	case proto.KindUndeliverable:
		s.takeUndeliverable(f)
		return
	case proto.KindListening:
		s.takeListening(f)
		return
	case proto.KindConn:
		s.takeConnections(f)
		return
	}
	if err := s.control(f); err != nil && s.state != proto.StateClosed {
		s.abort(proto.AbortProtocolError, fmt.Sprintf("%v: %v", f.kind, err), f.raw)
	}
}

// pong answers from where the connection is read (AWP-PI-1).
func (s *session) pong(f *frame, bytes []byte) {
	s.provoked(proto.KindPong, f.channel, append([]byte(nil), bytes...))
}

// control takes the frames whose body is a map, or an envelope of numbers.
func (s *session) control(f *frame) error {
	switch f.kind {
	case proto.KindWelcome, proto.KindAbort, proto.KindStop, proto.KindGoodbye, proto.KindSettings:
		table, ok := s.payload(f).(map[string]any)
		if !ok {
			return malformed
		}
		return s.mapped(f, table)
	case proto.KindSettingsAck:
		return s.inForce()
	case proto.KindListenClose:
		if l := s.listeners[f.channel]; l != nil {
			delete(s.listeners, f.channel)
			l.end(ErrClosed)
		}
		return nil
	}
	envelope, ok := s.envelope(f)
	if !ok {
		return malformed
	}
	return s.counted(f, envelope)
}

func (s *session) mapped(f *frame, table map[string]any) error {
	switch f.kind {
	case proto.KindWelcome:
		return s.takeWelcome(table)
	case proto.KindAbort:
		code, ok := asUint(table[proto.KeyAbortCode])
		if !ok {
			return malformed
		}
		detail, _ := table[proto.KeyAbortDetail].(string)
		s.out.clear()
		s.close(&Aborted{Code: proto.Abort(code), Detail: detail})
		return nil
	case proto.KindStop:
		return s.takeStop(table)
	case proto.KindGoodbye:
		upto, ok := asUint(table[proto.KeyGoodbyeRecv])
		if !ok || !s.confirmed(upto) {
			return malformed
		}
		s.failPending(errors.New("the primary says nothing more"))
		s.up.stop(0, false, reasonOf(table[proto.KeyGoodbyeReason]))
		return nil
	}
	return s.takeSettings(table)
}

// counted takes frames of which only the envelope counts.
func (s *session) counted(f *frame, envelope []any) error {
	switch f.kind {
	case proto.KindCancel:
		s.takeCancel(f.channel)
		return nil
	case proto.KindDown: // its capability is never in force
		return malformed
	}
	n, ok := asUint(at(envelope, 0))
	if !ok {
		return malformed
	}
	switch f.kind {
	case proto.KindCredit:
		if f.channel == 0 {
			s.takeCredit(n)
		}
	case proto.KindAck:
		if !s.confirmed(n) {
			return errors.New("more than was sent")
		}
	case proto.KindHandleAck:
		lost, ok := asList(at(envelope, 1))
		for _, number := range lost {
			_, isNumber := asUint(number)
			ok = ok && isNumber
		}
		if !ok || !s.departed.confirm(n) {
			return errors.New("more than was sent")
		}
		s.pump()
	case proto.KindUnimplemented:
		s.answered(f.channel, nil, failure(proto.ErrorCodeUnimplemented, "the primary does not know %v", proto.Kind(n)))
	}
	return nil
}

// confirmed says whether so many messages were sent at all (AWP-MS-8). Of which ones are handled
// this package tells nobody.
func (s *session) confirmed(upto uint64) bool { return upto <= s.sent }

// payload decodes the payload of a control frame.
func (s *session) payload(f *frame) any {
	value, err := msgpack.Decode(f.body.payload, s.local.MaxDepth, nil)
	if err != nil {
		return err
	}
	return value
}

// envelope decodes an envelope; false: it is not one.
func (s *session) envelope(f *frame) ([]any, bool) {
	value, err := msgpack.Decode(f.body.envelope, s.local.MaxDepth, nil)
	list, ok := asList(value)
	return list, ok && err == nil
}

// ---- maps ----

func (s *session) takeWelcome(table map[string]any) error {
	version, ok1 := table[proto.KeyWelcomeVersion].([]any)
	id, ok2 := asUint(table[proto.KeyWelcomeWorker])
	cluster, ok3 := table[proto.KeyWelcomeCluster].([]byte)
	caps, ok4 := asStrings(table[proto.KeyWelcomeCaps])
	names, ok5 := asStrings(table[proto.KeyWelcomeHandles])
	limits, ok6 := asTable(table[proto.KeyWelcomeLimits])
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || len(cluster) != 16 || id == 0 || id >= 1<<20 {
		return malformed
	}
	if major, ok := asUint(at(version, 0)); !ok || major != proto.Major {
		s.abort(proto.AbortVersion, "this worker speaks 1.0", nil)
		return nil
	}
	inForce := map[proto.Capability]bool{}
	for _, name := range caps {
		if !s.caps[proto.Capability(name)] {
			return fmt.Errorf("the capability %.40q was not offered", name)
		}
		inForce[proto.Capability(name)] = true
	}
	s.caps = inForce
	for _, kind := range kinds {
		for _, name := range names {
			s.takes[kind] = s.takes[kind] || kind.String() == name
		}
	}
	s.is = Welcome{ID: uint32(id), Cluster: cluster}
	s.is.Name, _ = table[proto.KeyWelcomeName].(string)
	s.is.Config, _ = table[proto.KeyWelcomeConfig].(map[string]any)
	if !s.peer.update(limits) || !s.heartbeat(table) {
		return malformed
	}
	s.peer = s.peer.complete()
	s.up.welcomed()
	return nil
}

func (s *session) heartbeat(table map[string]any) bool {
	value, ok := table[proto.KeyWelcomeHeartbeat]
	if !ok || value == nil {
		return true
	}
	ms, ok := asNumber(value)
	s.is.Heartbeat = milliseconds(ms)
	return ok
}

// takeSettings puts settings in force and says so. A new window counts from that frame on, at the
// one that sends messages (AWP-SE-2).
func (s *session) takeSettings(table map[string]any) error {
	limits, ok := asTable(table[proto.KeySettingsLimits])
	if !ok || !s.peer.update(limits) || !s.heartbeat(table) {
		return malformed
	}
	if level := table[proto.KeySettingsLogLevel]; level != nil {
		n, ok := asUint(level)
		if !ok {
			return malformed
		}
		s.is.LogLevel = int(min(n, 255))
	}
	if config := table[proto.KeySettingsConfig]; config != nil {
		changed, ok := config.(map[string]any)
		if !ok {
			return malformed
		}
		all := maps.Clone(s.is.Config) // somebody may be reading the old ones
		if all == nil {
			all = map[string]any{}
		}
		maps.Copy(all, changed)
		s.is.Config = all
	}
	s.answer(proto.KindSettingsAck, 0, nil, nil)
	s.up.configured(table)
	s.pump()
	return nil
}

func (s *session) takeStop(table map[string]any) error {
	reason := reasonOf(table[proto.KeyStopReason])
	deadline := table[proto.KeyStopDeadline]
	if deadline == nil {
		s.up.stop(0, false, reason)
		return nil
	}
	ms, ok := asNumber(deadline)
	if !ok {
		return malformed
	}
	s.up.stop(milliseconds(ms), true, reason)
	return nil
}

func reasonOf(value any) Reason {
	n, _ := asUint(value)
	return Reason(min(n, 255))
}

// takeError ends a call or a listener that failed there.
func (s *session) takeError(f *frame) {
	var value any
	if f.broken == nil {
		value = s.payload(f)
	}
	err := parseError(value)
	if l := s.listeners[f.channel]; l != nil {
		delete(s.listeners, f.channel)
		l.end(err)
		return
	}
	s.answered(f.channel, nil, err)
}

// Undeliverable is a message of ours that found nobody.
type Undeliverable struct {
	Number uint64
	To     Address
	Err    *Error
}

func (s *session) takeUndeliverable(f *frame) {
	if f.broken != nil {
		return
	}
	envelope, ok := s.envelope(f)
	n, isNumber := asUint(at(envelope, 0))
	to, isAddress := parseAddress(at(envelope, 1))
	switch {
	case !ok || !isNumber || !isAddress: // a broken body spoils this message alone
	case n > s.sent || n == 0:
		s.abort(proto.AbortProtocolError, "a message that was never sent is undeliverable", f.raw)
	default:
		s.up.undeliverable(Undeliverable{n, to, parseError(s.payload(f))})
	}
}

// ttl is how long a message is worth anything.
func ttl(meta map[string]any) (time.Duration, bool) {
	ms, ok := asNumber(meta[proto.MetaMessageTTL])
	return milliseconds(ms), ok
}
