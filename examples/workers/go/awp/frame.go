package awp

import (
	"encoding/binary"
	"errors"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// header is what stands before every body (section 3).
type header struct {
	length  uint32
	kind    proto.Kind
	flags   proto.Flag
	nfds    int
	channel uint32
}

func (h header) has(flag proto.Flag) bool { return h.flags&flag != 0 }

// parseHeader reads 16 bytes; false: their signature is not that of a frame.
func parseHeader(b []byte) (header, bool) {
	if b[0] != 0x95 || b[1] != 0xce || b[6] != 0xce || b[11] != 0xce {
		return header{}, false
	}
	return header{
		length:  binary.BigEndian.Uint32(b[2:]),
		kind:    proto.Kind(b[7]),
		flags:   proto.Flag(b[8]),
		nfds:    int(b[9]),
		channel: binary.BigEndian.Uint32(b[12:]),
	}, true
}

func appendHeader(b []byte, h header) []byte {
	b = binary.BigEndian.AppendUint32(append(b, 0x95, 0xce), h.length)
	b = append(b, 0xce, byte(h.kind), byte(h.flags), byte(h.nfds), 0, 0xce)
	return binary.BigEndian.AppendUint32(b, h.channel)
}

// body is envelope and payload, each encoded still.
type body struct{ envelope, payload []byte }

func (b body) size() int { return len(b.envelope) + len(b.payload) }

// splitBody finds the border between envelope and payload, and that they fill b (AWP-FR-3).
func splitBody(b []byte) (body, error) {
	n, err := msgpack.Skip(b)
	if err != nil {
		return body{}, err
	}
	end, err := msgpack.Skip(b[n:])
	if err != nil {
		return body{}, err
	}
	if n+end != len(b) {
		return body{}, errTooShort
	}
	return body{b[:n], b[n:]}, nil
}

// errTooShort says that envelope and payload end before the frame does.
var errTooShort = errors.New("awp: bytes behind the payload")
