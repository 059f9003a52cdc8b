package awp

import (
	"fmt"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// leaving is a TELL or CALL on its way out. All of them wait for credit in one queue, so none
// overtakes another, and what needs much credit is not starved by what needs little.
type leaving struct {
	kind    proto.Kind
	to      Address
	payload []byte
	handles []*Handle
	expires time.Time     // zero: never
	call    *pending      // of a CALL
	begun   chan struct{} // closed once it has its credit, or never will
	err     *Error        // why it never will; read after begun

	room bool // asks whether all before it was passed on

	item *item // once it has begun in fragments
	cost int
}

func (m *leaving) fail(err *Error) {
	m.err = err
	closeAll(m.handles)
	close(m.begun)
}

// pending is a call that waits for its answer.
type pending struct {
	channel uint32
	done    chan struct{}
	reply   *Reply
	err     error
	given   bool   // up: nobody waits any more
	then    func() // called at the end
}

func (p *pending) finish(reply *Reply, err *Error) {
	if p.then != nil {
		defer p.then()
	}
	if p.given {
		if reply != nil {
			closeAll(reply.Handles)
		}
		return
	}
	p.reply = reply
	if err != nil {
		p.err = err
	}
	close(p.done)
}

// answered ends a call of ours; one that is not open is none of them (AWP-CH-3).
func (s *session) answered(channel uint32, reply *Reply, err *Error) {
	if l := s.listeners[channel]; l != nil && err != nil {
		delete(s.listeners, channel)
		l.end(err)
		return
	}
	call := s.pending[channel]
	if call == nil {
		if reply != nil {
			closeAll(reply.Handles)
		}
		return
	}
	delete(s.pending, channel)
	if part := s.partial[channel]; part != nil {
		closeAll(part.handles)
		s.kept -= len(part.payload)
		delete(s.partial, channel)
	}
	call.finish(reply, err)
}

// submit puts a message into the queue, or says why it can never be sent.
func (s *session) submit(m *leaving) *Error {
	if err := s.sendable(m); err != nil {
		closeAll(m.handles)
		return err
	}
	s.route(m)
	return nil
}

func (s *session) sendable(m *leaving) *Error {
	info, _ := m.kind.Info()
	size := len(m.payload) + heads(m.handles)
	envelope := len(m.envelope()) - heads(m.handles)
	switch {
	case s.ended != nil:
		return failure(proto.ErrorCodeConnectionLost, "%v", s.ended)
	case !proto.WorkerMaySend(s.state, m.kind):
		return failure(proto.ErrorCodeRefused, "not in state %v", s.state)
	case !s.caps[info.Capability]:
		return failure(proto.ErrorCodeUnimplemented, "%q is not in force", info.Capability)
	case size > s.peer.MaxMessage || s.isLarge(m) && size > s.peer.MaxPartial:
		return failure(proto.ErrorCodeTooLarge, "%d bytes", size)
	case envelope > s.peer.MaxMeta, len(m.envelope())+64 > s.peer.MaxFrame:
		return failure(proto.ErrorCodeTooLarge, "an envelope of %d bytes", envelope)
	case s.isLarge(m) && !s.caps[proto.CapabilityFrag]:
		return failure(proto.ErrorCodeTooLarge, "fragments are not in force")
	}
	return s.passable(m.handles)
}

// passable says whether the primary takes such handles (AWP-HA-1).
func (s *session) passable(handles []*Handle) *Error {
	if len(handles) == 0 {
		return nil
	}
	if !s.caps[proto.CapabilityHandleSend] {
		return failure(proto.ErrorCodeUnsupportedHandle, "handle.send is not in force")
	}
	if len(handles) > min(s.peer.MaxFDs, s.peer.FDsInFlight) {
		return failure(proto.ErrorCodeTooLarge, "%d handles", len(handles))
	}
	if _, err := msgpack.Append(nil, entries(handles), depthOfControl, nil); err != nil {
		return failure(proto.ErrorCodeBadPayload, "the description of a handle: %v", err)
	}
	for _, handle := range handles {
		_, isOpen := handle.fd()
		switch {
		case !s.takes[handle.Kind]:
			return failure(proto.ErrorCodeUnsupportedHandle, "the primary takes no %v", handle.Kind)
		case !isOpen:
			return failure(proto.ErrorCodeUnsupportedHandle, "a handle that is closed")
		case len(handle.head()) > 0 && !s.caps[proto.CapabilityHandleHead]:
			return failure(proto.ErrorCodeUnsupportedHandle, "handle.head is not in force")
		}
	}
	return nil
}

func (m *leaving) envelope() []byte {
	var meta any
	if m.room {
		meta = map[string]any{proto.MetaMessageRoom: true}
	}
	if !m.expires.IsZero() {
		left := max(time.Until(m.expires), 0)
		meta = map[string]any{proto.MetaMessageTTL: float64(left) / float64(time.Millisecond)}
	}
	return encodeHead([]any{m.to.wire(), nil, entries(m.handles), meta})
}

// encodeHead encodes an envelope.
func encodeHead(envelope []any) []byte {
	body := encodeFrame(envelope, nil)
	return body[:len(body)-1]
}

// isLarge says whether a message goes in fragments.
func (s *session) isLarge(m *leaving) bool {
	return len(m.payload) > fragmentSize || len(m.envelope())+len(m.payload) > s.peer.MaxFrame
}

// hasRoom says whether so many descriptors may be in flight.
func (s *session) hasRoom(handles int) bool {
	return !s.caps[proto.CapabilityHandleAck] || handles == 0 ||
		s.departed.inFlight+handles <= s.peer.FDsInFlight
}

// pump lets messages go for which there is credit (AWP-FC-1). While one leaves in fragments the
// next has to wait, and so messages keep their order, and their numbers (AWP-LG-2, AWP-MS-6).
func (s *session) pump() {
	for len(s.queue) > 0 && s.sending == nil {
		m := s.queue[0]
		envelope := m.envelope()
		m.cost = s.price(len(envelope) + len(m.payload))
		if m.cost > s.peer.Window-s.spent || !s.hasRoom(len(m.handles)) {
			return
		}
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.dispatch(m, envelope)
	}
}

// price is what a message costs, in one frame or in many (section 14).
func (s *session) price(size int) int {
	return min(s.peer.Window, max(256, proto.HeaderSize+size))
}

func (s *session) dispatch(m *leaving, envelope []byte) {
	s.spent += m.cost
	s.departed.inFlight += len(m.handles)
	it := &item{header: header{kind: m.kind, nfds: len(m.handles)}, handles: m.handles, body: envelope}
	large := s.isLarge(m)
	if m.kind == proto.KindCall || large {
		it.header.channel = s.open()
	}
	if m.call != nil {
		m.call.channel = it.header.channel
		s.pending[it.header.channel] = m.call
	}
	if large {
		m.item, s.sending = it, m
		it.rest = m.payload
		it.done = func() {
			s.sent++
			s.sending = nil
			s.pump()
		}
		s.out.large = append(s.out.large, it)
	} else {
		s.sent++
		it.body = append(envelope, m.payload...)
		s.send(it)
	}
	m.payload = nil
	close(m.begun)
}

// withdraw takes back a message that nobody wants sent any more, as far as that is possible:
// before it began, without a trace; in fragments, by CANCEL (AWP-LG-6); a call that is complete,
// by CANCEL too.
func (s *session) withdraw(m *leaving) {
	if s.leaveLane(m) {
		closeAll(m.handles)
		return
	}
	for i, other := range s.queue {
		if other == m {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			closeAll(m.handles)
			s.pump() // it may have been in the way
			return
		}
	}
	if m.call != nil {
		m.call.given = true
	}
	switch {
	case s.sending == m && s.out.remove(m.item):
		s.sending = nil
		s.spent -= m.cost
		if m.item.begun {
			s.say(proto.KindCancel, m.item.header.channel, nil, nil)
		} else {
			s.departed.inFlight -= len(m.item.handles)
			closeAll(m.item.handles)
			delete(s.pending, m.item.header.channel)
		}
		s.pump()
	case m.call != nil && s.pending[m.call.channel] == m.call:
		s.say(proto.KindCancel, m.call.channel, nil, nil)
	}
}

// takeCredit takes back what messages of ours had cost (AWP-FC-6).
func (s *session) takeCredit(n uint64) {
	if n > uint64(max(s.spent, 0)) {
		s.abort(proto.AbortFlowViolation, fmt.Sprintf("%d bytes of credit, %d were spent", n, s.spent), nil)
		return
	}
	s.spent -= int(n)
	s.pump()
}

// reply answers a call of the primary's (AWP-CA-1). Answers cost no credit.
func (s *session) reply(m *Message, payload []byte, handles []*Handle) *Error {
	if s.calls[m.channel] != m {
		closeAll(handles)
		return failure(proto.ErrorCodeConnectionLost, "the call is not open any more")
	}
	envelope := encodeHead([]any{entries(handles)})
	size := len(payload) + heads(handles)
	large := len(payload) > fragmentSize || len(envelope)+len(payload) > s.peer.MaxFrame
	wrong := s.passable(handles)
	switch {
	case wrong != nil:
	case size > s.peer.MaxMessage, large && (size > s.peer.MaxPartial || !s.caps[proto.CapabilityFrag]):
		wrong = failure(proto.ErrorCodeTooLarge, "an answer of %d bytes", size)
		wrong.Data = map[string]any{"size": size, "limit": s.peer.MaxMessage}
	case len(envelope)-heads(handles) > s.peer.MaxMeta:
		wrong = failure(proto.ErrorCodeTooLarge, "an envelope of %d bytes", len(envelope))
	}
	if wrong != nil {
		closeAll(handles)
		s.fail(m, wrong)
		return wrong
	}
	s.credit() // what the call cost is known to be free before its answer is
	it := &item{
		header:  header{kind: proto.KindReply, channel: m.channel, nfds: len(handles)},
		handles: handles, body: envelope,
	}
	delete(s.calls, m.channel)
	s.departed.inFlight += len(handles)
	if large {
		it.rest = payload
		s.out.large = append(s.out.large, it)
	} else {
		it.body = append(envelope, payload...)
		s.send(it)
	}
	return nil
}

// fail answers a call with an error.
func (s *session) fail(m *Message, err *Error) {
	if s.calls[m.channel] != m {
		return
	}
	delete(s.calls, m.channel)
	s.credit()
	table := err.table()
	if _, bad := msgpack.Append(nil, table, depthOfControl, nil); bad != nil {
		table = failure(proto.ErrorCodeInternal, "an error that cannot be encoded").table()
	}
	s.say(proto.KindError, m.channel, nil, table)
}
