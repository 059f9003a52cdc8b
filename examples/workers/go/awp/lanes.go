package awp

import proto "example.com/actorcluster/internal/awp"

// lane is the way to one other worker. The primary holds what it cannot pass on, and with it our
// credit: so that one worker that is stuck does not hold up what is for all others, at most half
// of the window is given to one address before the primary says that it has passed everything on
// (AWP-MS-14, AWP-MS-15). What is for the primary itself has no lane.
type lane struct {
	to      Address
	unknown int        // what messages cost of which this is not known
	queue   []*leaving // those that wait until it is
	asking  bool
}

// route puts a message into its lane, and behind all others if there is room in it.
func (s *session) route(m *leaving) {
	if m.to == Primary || !s.caps[proto.CapabilityCall] {
		s.queue = append(s.queue, m)
		s.pump()
		return
	}
	l := s.lanes[m.to]
	if l == nil {
		l = &lane{to: m.to}
		s.lanes[m.to] = l
	}
	l.queue = append(l.queue, m)
	s.advance(l)
}

func (s *session) advance(l *lane) {
	for len(l.queue) > 0 {
		m := l.queue[0]
		cost := s.price(len(m.envelope()) + len(m.payload))
		if l.unknown > 0 && l.unknown+cost > s.peer.Window/2 {
			break
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.unknown += cost
		s.queue = append(s.queue, m)
	}
	if l.unknown >= s.peer.Window/4 && !l.asking {
		s.ask(l)
	}
	s.pump()
}

// ask puts the question behind all that was sent. Whatever comes as the answer, an error too, is
// about what stands before it.
func (s *session) ask(l *lane) {
	l.asking = true
	before := l.unknown
	question := &leaving{
		kind: proto.KindCall, to: l.to, payload: []byte{0xc0}, room: true, begun: make(chan struct{}),
		call: &pending{done: make(chan struct{}), then: func() {
			l.asking = false
			l.unknown -= before
			if s.ended == nil {
				s.advance(l)
			}
			if l.unknown == 0 && len(l.queue) == 0 {
				delete(s.lanes, l.to)
			}
		}},
	}
	s.queue = append(s.queue, question)
}

// leaveLane takes back a message that waits in its lane.
func (s *session) leaveLane(m *leaving) bool {
	l := s.lanes[m.to]
	if l == nil {
		return false
	}
	for i, other := range l.queue {
		if other == m {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			s.advance(l)
			return true
		}
	}
	return false
}
