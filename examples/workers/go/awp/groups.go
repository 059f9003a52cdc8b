package awp

import (
	proto "example.com/actorcluster/internal/awp"
)

// group is what one recvmsg brought beside its bytes.
type group struct {
	fds       []int
	truncated bool
}

// groups are those that no frame has claimed, oldest first (AWP-FD-3).
type groups struct {
	waiting   []group
	unclaimed int

	// Frames with descriptors, for HANDLE_ACK (AWP-HA-4).
	frames, acked uint64
	lost          []uint64
}

func (g *groups) add(fds []int, truncated bool) {
	g.waiting = append(g.waiting, group{fds, truncated})
	g.unclaimed += len(fds)
}

// claim takes the oldest group for a frame that declares n descriptors. One that is not there, or
// not whole, is lost: it gives nil and false, and the rest of it is closed (AWP-FD-5).
func (g *groups) claim(n int) (fds []int, arrived bool) {
	g.frames++
	var first group
	if len(g.waiting) > 0 {
		first = g.waiting[0]
		g.waiting = g.waiting[1:]
		g.unclaimed -= len(first.fds)
	}
	if first.truncated || len(first.fds) < n {
		closeFDs(first.fds)
		g.lost = append(g.lost, g.frames)
		return nil, false
	}
	return first.fds, true
}

func (g *groups) close() {
	for _, waiting := range g.waiting {
		closeFDs(waiting.fds)
	}
	g.waiting, g.unclaimed = nil, 0
}

// acknowledge tells the primary which frames with descriptors have arrived.
func (s *session) acknowledge() {
	g := &s.arrived
	if g.acked == g.frames {
		return
	}
	g.acked = g.frames
	if s.caps[proto.CapabilityHandleAck] {
		var lost any
		if len(g.lost) > 0 {
			lost = g.lost
		}
		s.say(proto.KindHandleAck, 0, []any{g.frames, lost}, nil)
	}
	g.lost = nil
}

// departures are frames with handles that are sent and not acknowledged: the copies are kept, and
// closed when the primary has its own (AWP-HA-3).
type departures struct {
	frames   uint64
	kept     []*departure // the oldest first
	inFlight int          // descriptors of these, and of frames that wait to be sent
}

// departure is one such frame. While sendmsg works on it, nobody closes its descriptors: their
// numbers might be given to something else.
type departure struct {
	handles []*Handle
	busy    bool
	over    bool
}

func (d *departure) close() {
	d.over = true
	if !d.busy {
		closeAll(d.handles)
	}
}

// sent is called after sendmsg. Without an acknowledgement the copies go now.
func (d *departure) sent(acknowledged bool) {
	d.busy = false
	if d.over || !acknowledged {
		closeAll(d.handles)
	}
}

func (d *departures) add(handles []*Handle, acknowledged bool) *departure {
	one := &departure{handles: handles, busy: true}
	if acknowledged {
		d.frames++
		d.kept = append(d.kept, one)
	}
	return one
}

// confirm takes a HANDLE_ACK; false: it speaks of what was never sent.
func (d *departures) confirm(upto uint64) bool {
	if upto > d.frames {
		return false
	}
	for d.frames-uint64(len(d.kept)) < upto {
		d.inFlight -= len(d.kept[0].handles)
		d.kept[0].close()
		d.kept[0] = nil
		d.kept = d.kept[1:]
	}
	return true
}

func (d *departures) close() {
	for _, one := range d.kept {
		one.close()
	}
	d.kept = nil
}
