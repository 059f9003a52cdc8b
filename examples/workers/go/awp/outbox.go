package awp

import (
	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// fragmentSize is how much of a large message goes in one frame: other frames pass between.
const fragmentSize = 256 << 10

// item is a frame that waits to be sent, or what is left of a message in fragments.
type item struct {
	header   header
	handles  []*Handle
	body     []byte // of a message in fragments: the envelope
	rest     []byte // of a message in fragments: what has not been sent of its payload
	provoked bool   // an answer that the primary can ask for as often as it likes
	begun    bool   // of a message in fragments: its first fragment is sent
	done     func() // called with the last of it, before it is written
	written  func() // called when it is written
}

func (it *item) size() int { return proto.HeaderSize + len(it.body) }

// outbox has three queues. Urgent frames go first; then those that keep their order; and with each
// round one fragment of one large message, so that none holds up the others for long, and only one
// is unfinished at its receiver.
type outbox struct {
	urgent, ordered, large []*item
	size                   int // bytes in urgent and ordered
	provoked               int // bytes of answers among them
}

func (o *outbox) empty() bool { return len(o.urgent)+len(o.ordered)+len(o.large) == 0 }

func (o *outbox) push(it *item, urgent bool) {
	o.size += it.size()
	if it.provoked {
		o.provoked += it.size()
	}
	if urgent {
		o.urgent = append(o.urgent, it)
	} else {
		o.ordered = append(o.ordered, it)
	}
}

// clear drops everything.
func (o *outbox) clear() {
	for _, queue := range [][]*item{o.urgent, o.ordered, o.large} {
		for _, it := range queue {
			closeAll(it.handles)
		}
	}
	*o = outbox{}
}

// remove takes a large message out, and says whether it was there.
func (o *outbox) remove(it *item) bool {
	for i, other := range o.large {
		if other == it {
			o.large = append(o.large[:i], o.large[i+1:]...)
			return true
		}
	}
	return false
}

// batch is what one call of sendmsg takes: frames behind each other, and the descriptors of the
// first of them (AWP-FD-1).
type batch struct {
	bytes   []byte
	handles []*Handle
	written []func()
}

// enough is when a batch is closed.
const enough = 64 << 10

// next takes a batch out of the queues. Its bytes overwrite buffer.
func (o *outbox) next(buffer []byte, maxFrame int) batch {
	b := batch{bytes: buffer[:0]}
	for _, queue := range []*[]*item{&o.urgent, &o.ordered} {
		for len(*queue) > 0 && len(b.bytes) < enough {
			it := (*queue)[0]
			if len(it.handles) > 0 && len(b.bytes) > 0 {
				return b // its descriptors have to go with the first byte
			}
			(*queue)[0] = nil
			*queue = (*queue)[1:]
			o.size -= it.size()
			if it.provoked {
				o.provoked -= it.size()
			}
			b.add(it, it.header, it.body)
			b.finish(it)
		}
	}
	if len(o.large) > 0 && len(b.bytes) < enough {
		it := o.large[0]
		if len(it.handles) == 0 || len(b.bytes) == 0 {
			o.fragment(&b, it, maxFrame)
		}
	}
	return b
}

// fragment adds the next piece of a large message (AWP-LG-1).
func (o *outbox) fragment(b *batch, it *item, maxFrame int) {
	const binHead = 5
	envelope := it.body
	if it.begun {
		envelope = []byte{0xc0}
	}
	size := min(fragmentSize, maxFrame-len(envelope)-binHead, len(it.rest))
	piece := it.rest[:size]
	it.rest = it.rest[size:]
	h := it.header
	h.flags |= proto.FlagFrag
	if len(it.rest) > 0 {
		h.flags |= proto.FlagMore
	}
	body := append(make([]byte, 0, len(envelope)+binHead+size), envelope...)
	body = append(msgpack.AppendBinHead(body, size), piece...)
	h.length = uint32(len(body))
	b.add(it, h, body)
	it.begun, it.handles, it.header.nfds = true, nil, 0
	if len(it.rest) == 0 {
		o.large = o.large[1:]
		b.finish(it)
	}
}

func (b *batch) add(it *item, h header, body []byte) {
	b.bytes = append(appendHeader(b.bytes, h), body...)
	if len(it.handles) > 0 {
		b.handles = it.handles
	}
}

func (b *batch) finish(it *item) {
	if it.done != nil {
		it.done()
	}
	if it.written != nil {
		b.written = append(b.written, it.written)
	}
}
