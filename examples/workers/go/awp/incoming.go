package awp

import (
	"errors"
	"fmt"
	"syscall"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// arriving is a TELL, CALL or REPLY of which not everything has been looked at. What is wrong with
// it is remembered and answered when it is complete: only then it has a number (AWP-MS-6).
type arriving struct {
	kind    proto.Kind
	channel uint32
	window  int // what its cost is bounded by
	// Of the envelope.
	envelope int
	to, from Address
	meta     map[string]any
	handles  []*Handle
	// Of the payload.
	payload []byte
	size    int
	wrong   *Error
}

func (a *arriving) spoil(code Code, format string, arguments ...any) {
	if a.wrong == nil {
		a.wrong = failure(code, format, arguments...)
	}
	closeAll(a.handles)
	a.handles, a.payload = nil, nil
}

// takeMessage takes a TELL, CALL or REPLY, or a fragment of one.
func (s *session) takeMessage(f *frame) {
	a := s.partial[f.channel]
	if f.channel == 0 {
		a = nil
	}
	switch {
	case a != nil:
		if a.kind != f.kind || !f.has(proto.FlagFrag) || f.nfds > 0 {
			closeFDs(f.fds)
			s.abort(proto.AbortProtocolError, "not the next fragment of the message on its channel", f.raw)
			return
		}
	case f.kind == proto.KindReply && s.pending[f.channel] == nil:
		closeFDs(f.fds) // it crossed the end of the call
		return
	case f.kind != proto.KindReply && f.channel != 0 && (f.channel%2 != 0 || s.calls[f.channel] != nil):
		closeFDs(f.fds)
		s.abort(proto.AbortProtocolError, fmt.Sprintf("channel %d is not free for a %v", f.channel, f.kind), f.raw)
		return
	case f.has(proto.FlagMore) && len(s.partial) >= s.local.MaxPartial/256:
		closeFDs(f.fds)
		s.abort(proto.AbortLimitExceeded, "too many messages are not complete", f.raw) // AWP-LG-8
		return
	default:
		a = s.begin(f)
	}
	if !f.has(proto.FlagFrag) {
		a.size = len(f.body.payload)
		if a.wrong == nil && a.size+heads(a.handles) > s.local.MaxMessage {
			a.spoil(proto.ErrorCodeTooLarge, "%d bytes, %d are allowed", a.size, s.local.MaxMessage)
		}
		a.payload = f.body.payload
		s.complete(a)
		return
	}
	s.addPiece(a, f)
	if f.has(proto.FlagMore) {
		s.partial[f.channel] = a
		return
	}
	delete(s.partial, f.channel)
	s.kept -= len(a.payload)
	s.complete(a)
}

// begin looks at the first frame of a message: what its envelope says, and the state (AWP-LG-5).
func (s *session) begin(f *frame) *arriving {
	a := &arriving{
		kind: f.kind, channel: f.channel, window: s.local.Window, envelope: len(f.body.envelope),
	}
	s.readEnvelope(a, f)
	switch {
	case a.wrong == nil && f.refuse:
		a.spoil(proto.ErrorCodeRefused, "the worker is stopping")
	case a.wrong == nil && f.kind == proto.KindCall && len(s.calls) >= s.local.MaxCalls:
		a.spoil(proto.ErrorCodeRefused, "%d calls are not answered yet", len(s.calls))
	}
	return a
}

// readEnvelope takes address, handles and meta map out of the envelope. All descriptors are either
// in a.handles then, or closed.
func (s *session) readEnvelope(a *arriving, f *frame) {
	handlesAt := proto.EnvTellHandles
	if f.kind == proto.KindReply {
		handlesAt = proto.EnvReplyHandles
	}
	envelope, ok := []any(nil), f.broken == nil
	if ok {
		envelope, ok = s.envelope(f)
	}
	var kinds []any
	if ok && f.kind != proto.KindReply {
		var okTo, okFrom bool
		a.to, okTo = parseAddress(at(envelope, proto.EnvTellTo))
		a.from, okFrom = parseAddress(at(envelope, proto.EnvTellFrom))
		ok = okTo && okFrom && a.from.Name == ""
	}
	if ok {
		kinds, ok = asList(at(envelope, handlesAt))
	}
	if ok {
		a.meta, ok = asTable(at(envelope, handlesAt+1))
		ok = ok && goodMeta(a.meta, len(kinds)) && len(kinds) == f.nfds
		a.from.Name, _ = a.meta[proto.MetaMessageName].(string)
	}
	if !ok {
		closeFDs(f.fds)
		a.spoil(proto.ErrorCodeBadPayload, "a broken envelope")
		return
	}
	handles, wrong := s.readHandles(kinds, f)
	a.handles = handles
	if wrong != nil {
		a.spoil(wrong.Code, "%s", wrong.Message)
	} else if n := a.envelope - heads(handles); n > s.local.MaxMeta {
		a.spoil(proto.ErrorCodeTooLarge, "an envelope of %d bytes, %d are allowed", n, s.local.MaxMeta)
	}
}

func goodMeta(meta map[string]any, handles int) bool {
	if value := meta[proto.MetaMessageTTL]; value != nil {
		if _, ok := asNumber(value); !ok {
			return false
		}
	}
	if value := meta[proto.MetaMessageHandle]; value != nil {
		if n, ok := asUint(value); !ok || n >= uint64(handles) {
			return false
		}
	}
	value := meta[proto.MetaMessageName]
	_, isText := value.(string)
	return value == nil || isText
}

// readHandles pairs the entries of an envelope with the descriptors of the frame. On failure all
// of these are closed.
func (s *session) readHandles(entries []any, f *frame) ([]*Handle, *Error) {
	handles := make([]*Handle, 0, len(f.fds))
	var wrong *Error
	for i, entry := range entries {
		kind, meta, ok := s.readEntry(entry)
		switch {
		case !ok:
			wrong = failure(proto.ErrorCodeBadPayload, "a broken description of a handle")
		case wrong != nil || f.lost:
		default:
			handles = append(handles, newHandle(kind, meta, f.fds[i]))
		}
	}
	if wrong == nil && f.lost {
		wrong = failure(proto.ErrorCodeHandleLost, "the descriptors did not arrive")
	}
	if wrong != nil {
		for _, fd := range f.fds[min(len(handles), len(f.fds)):] {
			syscall.Close(fd)
		}
		closeAll(handles)
		return nil, wrong
	}
	return handles, nil
}

// readEntry reads `[kind, meta]`.
func (s *session) readEntry(entry any) (Kind, map[string]any, bool) {
	pair, ok := entry.([]any)
	code, isCode := asUint(at(pair, 0))
	meta, isTable := asTable(at(pair, 1))
	if !ok || !isCode || !isTable || code > 255 {
		return 0, nil, false
	}
	kind := Kind(code)
	if head := meta[proto.MetaHandleHead]; head != nil {
		_, isBin := head.([]byte)
		if !isBin || kind != TCPSocket && kind != UnixStream || !s.caps[proto.CapabilityHandleHead] {
			return 0, nil, false
		}
	}
	return kind, meta, true
}

// addPiece adds a fragment, and turns the message down once it has grown too large (AWP-LG-3).
func (s *session) addPiece(a *arriving, f *frame) {
	piece, ok := []byte(nil), false
	if f.broken == nil {
		var value any
		value, _ = msgpack.Decode(f.body.payload, 0, nil)
		piece, ok = value.([]byte)
	}
	kept := len(a.payload)
	a.size += len(piece)
	switch {
	case !ok:
		a.spoil(proto.ErrorCodeBadPayload, "a fragment that is not a bin")
	case a.wrong != nil:
	case a.size+heads(a.handles) > s.local.MaxMessage:
		a.spoil(proto.ErrorCodeTooLarge, "more than the %d bytes that are allowed", s.local.MaxMessage)
	case s.kept+len(piece) > s.local.MaxPartial:
		a.spoil(proto.ErrorCodeTooLarge, "unfinished messages of more than %d bytes", s.local.MaxPartial)
	default:
		a.payload = append(a.payload, piece...)
	}
	s.kept += len(a.payload) - kept
}

// complete decodes a message that is there as a whole, and gives it to whom it is for.
func (s *session) complete(a *arriving) {
	var value any
	if a.wrong == nil {
		var err error
		if value, err = msgpack.Decode(a.payload, s.local.MaxDepth, resolver(a.handles)); err != nil {
			a.spoil(proto.ErrorCodeBadPayload, "%v", err)
		} else if err := verifyAll(a.handles); err != nil {
			a.spoil(err.Code, "%s", err.Message)
		}
	}
	if a.kind == proto.KindReply {
		if a.wrong != nil {
			s.answered(a.channel, nil, a.wrong)
		} else {
			s.answered(a.channel, &Reply{Body: value, Handles: a.handles}, nil)
		}
		return
	}
	s.received++
	cost := min(a.window, max(256, proto.HeaderSize+a.envelope+a.size))
	if s.taken+cost > s.local.Window {
		closeAll(a.handles)
		s.abort(proto.AbortFlowViolation, fmt.Sprintf("message %d costs %d bytes, %d are left",
			s.received, cost, s.local.Window-s.taken), nil)
		return
	}
	s.taken += cost
	m := newMessage(a, s.received, cost, value)
	if a.wrong == nil {
		if a.kind == proto.KindCall {
			s.calls[a.channel] = m
		}
		if a.wrong = s.up.message(m); a.wrong == nil {
			s.acknowledgeMany()
			return
		}
		m.end(errors.New("bounced"))
		delete(s.calls, a.channel)
		closeAll(a.handles)
	}
	s.bounce(m, a.wrong)
}

// acknowledgeMany keeps AWP-MS-3 for a primary that sends faster than the clock ticks.
func (s *session) acknowledgeMany() {
	if s.received-s.acked >= 500 {
		s.acked = s.received
		if s.caps[proto.CapabilityAck] {
			s.say(proto.KindAck, 0, []any{s.received}, nil)
		}
	}
}

// bounce answers a message that reaches no mailbox (AWP-MS-5).
func (s *session) bounce(m *Message, why *Error) {
	if m.channel != 0 && m.isCall {
		s.answer(proto.KindError, m.channel, nil, why.table())
	} else {
		s.answer(proto.KindUndeliverable, 0, []any{m.number, m.to.wire()}, why.table())
	}
	s.release(m.cost)
}

// takeCancel ends a message that is not complete (AWP-LG-6), or asks a call to end.
func (s *session) takeCancel(channel uint32) {
	if a := s.partial[channel]; a != nil && a.kind != proto.KindReply {
		delete(s.partial, channel)
		s.kept -= len(a.payload)
		closeAll(a.handles)
		if a.kind == proto.KindCall {
			s.answer(proto.KindError, channel, nil, failure(proto.ErrorCodeCancelled, "").table())
		}
		return
	}
	if m := s.calls[channel]; m != nil {
		s.up.cancelled(m)
	}
}
