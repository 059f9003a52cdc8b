package awp

import (
	"errors"
	"math"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// session is the protocol without the connection: bytes and descriptors go in by receive, frames
// come out of its outbox, and what arrived it tells to upper. It knows no goroutine and no clock
// but for ttl; the worker calls it under a lock. So the vectors of the protocol can be played
// to it as they are.
//
// The files divide it: frames and control kinds arrive in receive.go, messages in incoming.go;
// messages leave by outgoing.go; listeners are in ports.go, descriptors in groups.go.
type session struct {
	up    upper
	state proto.State
	caps  map[proto.Capability]bool // offered until WELCOME comes, in force from then on
	local Limits
	peer  Limits
	takes map[Kind]bool // kinds of handles that the primary takes
	is    Welcome

	buf     []byte // what has arrived and is no whole frame yet
	arrived groups
	unknown int

	out       outbox
	lastID    uint32               // the last channel that was opened here
	pending   map[uint32]*pending  // calls that wait for their answer
	listeners map[uint32]*Listener // by channel
	calls     map[uint32]*Message  // the primary's, not answered yet
	partial   map[uint32]*arriving // messages and answers of which a fragment is missing
	kept      int                  // bytes in partial
	received  uint64               // messages that are complete
	acked     uint64               // those that an ACK went out for
	taken     int                  // window bytes that the primary has not got back
	due       int                  // the part of them that it may have back
	lanes     map[Address]*lane    // to other workers
	queue     []*leaving           // messages that wait for credit
	sending   *leaving             // the one that is leaving in fragments
	sent      uint64               // messages that have left
	spent     int                  // window bytes that have not come back
	asked     []Limits             // SETTINGS that are not acknowledged
	departed  departures           // handles that left
	ended     error                // set in CLOSED
}

// upper is told what arrives. It must not block.
type upper interface {
	welcomed()
	configured(settings map[string]any)
	stop(within time.Duration, limited bool, reason Reason)
	// message says where a message goes; an error bounces it.
	message(m *Message) *Error
	cancelled(m *Message)
	undeliverable(u Undeliverable)
	listening(l *Listener)
	connections(l *Listener)
	closed(err error)
}

// Reason is why somebody stops or leaves.
type Reason = proto.Reason

// Welcome is what the primary said of this worker.
type Welcome struct {
	ID        uint32
	Name      string
	Cluster   []byte
	Heartbeat time.Duration
	Config    map[string]any
	LogLevel  int
}

// offered are the capabilities of level 2.
var offered = []proto.Capability{
	proto.CapabilityMsg, proto.CapabilityCall, proto.CapabilityFrag, proto.CapabilityAck,
	proto.CapabilityLog, proto.CapabilityHandle, proto.CapabilityHandleSend,
	proto.CapabilityHandleAck, proto.CapabilityHandleHead, proto.CapabilityListenHandoff,
	proto.CapabilityListenShared,
}

func newSession(up upper, limits Limits) *session {
	s := &session{
		up: up, local: limits.complete(), peer: Limits{}.complete(),
		caps: map[proto.Capability]bool{}, takes: map[Kind]bool{},
		pending: map[uint32]*pending{}, listeners: map[uint32]*Listener{},
		calls: map[uint32]*Message{}, partial: map[uint32]*arriving{},
		lanes:  map[Address]*lane{},
		lastID: math.MaxUint32, // so that the first is 1
	}
	for _, capability := range offered {
		s.caps[capability] = true
	}
	return s
}

// ---- sending ----

// send queues a frame, unless the state forbids it (section 18): then it is dropped.
func (s *session) send(it *item) bool {
	if !proto.WorkerMaySend(s.state, it.header.kind) {
		closeAll(it.handles)
		return false
	}
	info, _ := it.header.kind.Info()
	it.header.length = uint32(len(it.body))
	it.header.nfds = len(it.handles)
	s.out.push(it, info.Urgent && it.header.kind != proto.KindCancel)
	s.state = proto.WorkerSent(s.state, it.header.kind)
	return true
}

// say queues a frame of the kinds whose bodies cannot fail to encode.
func (s *session) say(kind proto.Kind, channel uint32, envelope []any, payload any) bool {
	return s.send(&item{header: header{kind: kind, channel: channel}, body: encodeFrame(envelope, payload)})
}

func encodeFrame(envelope []any, payload any) []byte {
	var head any
	for len(envelope) > 0 && envelope[len(envelope)-1] == nil {
		envelope = envelope[:len(envelope)-1] // missing elements are nil
	}
	if len(envelope) > 0 {
		head = envelope
	}
	body, err := msgpack.Append(nil, head, depthOfControl, nil)
	if err == nil {
		body, err = msgpack.Append(body, payload, depthOfControl, nil)
	}
	if err != nil {
		return []byte{0xc0, 0xc0} // only texts of the application can be to blame
	}
	return body
}

// depthOfControl is deep enough for every frame but messages.
const depthOfControl = 64

// answer is say for frames that the primary can provoke at will: what it does not read of them is
// bounded (AWP-LM-2).
func (s *session) answer(kind proto.Kind, channel uint32, envelope []any, payload any) {
	s.provoked(kind, channel, encodeFrame(envelope, payload))
}

func (s *session) provoked(kind proto.Kind, channel uint32, body []byte) *item {
	it := &item{header: header{kind: kind, channel: channel}, body: body, provoked: true}
	s.send(it)
	if s.out.provoked > maxUnread && s.state != proto.StateClosed {
		s.abort(proto.AbortLimitExceeded, "the primary does not read the answers", nil)
	}
	return it
}

// maxUnread bounds the answers to a primary that does not read them.
const maxUnread = 8 << 20

// abort gives the connection up: nothing goes out any more but this.
func (s *session) abort(code proto.Abort, detail string, frame []byte) {
	table := map[string]any{proto.KeyAbortCode: uint8(code), proto.KeyAbortDetail: clip(detail)}
	if len(frame) == proto.HeaderSize {
		table[proto.KeyAbortFrame] = frame
	}
	s.out.clear()
	s.say(proto.KindAbort, 0, nil, table)
	s.close(&Aborted{Code: code, Detail: detail, Here: true})
}

// close ends everything that was opened on the connection.
func (s *session) close(err error) {
	if s.ended != nil {
		return
	}
	s.state, s.ended = proto.StateClosed, err
	s.arrived.close()
	s.departed.close()
	s.buf = nil
	for _, part := range s.partial {
		closeAll(part.handles)
	}
	clear(s.partial)
	for _, l := range s.lanes {
		s.queue = append(s.queue, l.queue...)
	}
	clear(s.lanes)
	for _, m := range s.queue {
		m.fail(failure(proto.ErrorCodeConnectionLost, "%v", err))
	}
	s.queue = nil
	s.failPending(err)
	for _, m := range s.calls {
		m.end(err)
	}
	clear(s.calls)
	for _, l := range s.listeners {
		l.end(err)
	}
	clear(s.listeners)
	s.up.closed(err)
}

// failPending fails the calls that nobody will answer any more (AWP-CA-6).
func (s *session) failPending(err error) {
	for channel, call := range s.pending {
		delete(s.pending, channel)
		call.finish(nil, failure(proto.ErrorCodeConnectionLost, "%v", err))
	}
}

// open finds a channel that is free (AWP-CH-1, AWP-CH-4).
func (s *session) open() uint32 {
	for {
		s.lastID += 2 // odd, and 1 comes behind the highest
		if s.isFree(s.lastID) {
			return s.lastID
		}
	}
}

func (s *session) isFree(channel uint32) bool {
	if s.sending != nil && s.sending.item.header.channel == channel {
		return false
	}
	_, isCall := s.pending[channel]
	_, isListener := s.listeners[channel]
	return !isCall && !isListener
}

// ---- bring-up and end ----

func (s *session) hello(who identity, pid int, impl map[string]any) {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = kind.String()
	}
	table := map[string]any{
		proto.KeyHelloVersions: []any{[]any{proto.Major, proto.Minor}},
		proto.KeyHelloCaps:     offered,
		proto.KeyHelloHandles:  names,
		proto.KeyHelloLimits:   s.local.announced(),
		proto.KeyHelloPID:      pid,
		proto.KeyHelloImpl:     impl,
	}
	if who.worker != 0 {
		table[proto.KeyHelloWorker] = who.worker
	}
	if who.token != "" {
		table[proto.KeyHelloToken] = who.token
	}
	s.say(proto.KindHello, 0, nil, table)
}

// goodbye says so; after it nothing is sent (AWP-ST-2, AWP-ST-5).
func (s *session) goodbye(reason Reason) {
	for _, part := range s.partial {
		closeAll(part.handles)
	}
	clear(s.partial)
	for _, it := range s.out.large { // they would never end
		closeAll(it.handles)
	}
	s.out.large = nil
	s.flush()
	s.say(proto.KindGoodbye, 0, nil, map[string]any{
		proto.KeyGoodbyeRecv: s.received, proto.KeyGoodbyeReason: uint8(reason),
	})
}

// eof ends the stream. What was said before may still find a reader.
func (s *session) eof() {
	action, _ := proto.WorkerAtEOF(s.state)
	switch action {
	case proto.ActionAbort:
		s.close(ErrLost)
	case proto.ActionDeliver:
		s.close(ErrClosed)
	}
}

// announce changes what this side can receive. What is raised holds at once, as the primary may go
// by it as soon as it hears of it; the window, and what is lowered, when it says so (AWP-SE-2).
func (s *session) announce(limits Limits) bool {
	limits = limits.complete()
	if !s.say(proto.KindSettings, 0, nil, map[string]any{proto.KeySettingsLimits: limits.all()}) {
		return false
	}
	s.asked = append(s.asked, limits)
	now := s.local.fields()
	for i, field := range limits.fields() {
		if field.of.Name != proto.LimitWindow.Name {
			*now[i].value = max(*now[i].value, *field.value)
		}
	}
	return true
}

// inForce is SETTINGS_ACK.
func (s *session) inForce() error {
	if len(s.asked) == 0 {
		return errors.New("there is no SETTINGS")
	}
	s.local = s.asked[0]
	s.asked = s.asked[1:]
	for _, later := range s.asked { // which may be in force there already
		now := s.local.fields()
		for i, field := range later.fields() {
			if field.of.Name != proto.LimitWindow.Name {
				*now[i].value = max(*now[i].value, *field.value)
			}
		}
	}
	return nil
}

// ---- what is gathered ----

// gathered says whether something waits for flush.
func (s *session) gathered() bool {
	return s.due > 0 || s.acked < s.received
}

// release gives back what a message cost, when it has left the mailbox (AWP-FC-4).
func (s *session) release(cost int) {
	s.due += cost
	if s.due >= s.local.Window/4 {
		s.credit()
	}
}

func (s *session) credit() {
	for s.due > 0 {
		n := min(s.due, math.MaxUint32)
		s.due -= n
		s.taken -= n
		s.say(proto.KindCredit, 0, []any{n}, nil)
	}
}

// flush sends the credit and the acknowledgements that have gathered.
func (s *session) flush() {
	s.credit()
	if s.acked < s.received && s.caps[proto.CapabilityAck] {
		s.say(proto.KindAck, 0, []any{s.received}, nil)
	}
	s.acked = s.received
	s.acknowledge()
}
