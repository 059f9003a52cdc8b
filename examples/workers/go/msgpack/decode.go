// Package msgpack reads and writes the values that AWP bodies are made of: nil, bool, integers,
// floats, text, bytes, arrays, maps whose keys are strings, and extension types.
//
// It is made for input that lies. [Skip] finds the end of a value in constant memory, however deep
// and however long it claims to be; what it has passed, [Decode] may then build, because every
// element that is announced is really there. In Go the values are nil, bool, int64 (uint64 for
// what exceeds it), float64, string, []byte, []any, map[string]any, [time.Time] and [Ext].
package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

var (
	// ErrTruncated says that a value would end behind the last byte.
	ErrTruncated = errors.New("msgpack: the value is longer than its bytes")
	// ErrNotMsgpack says that a byte has no meaning in msgpack.
	ErrNotMsgpack = errors.New("msgpack: byte 0xc1")
	// ErrProfile says that a value is well formed, but not one that AWP allows.
	ErrProfile = errors.New("msgpack: outside of the value profile")
)

// Ext is a value of an extension type that nobody here knows.
type Ext struct {
	Code int8
	Data []byte
}

// extTimestamp is msgpack's own extension type.
const extTimestamp = -1

type shape uint8

const (
	shapeScalar shape = iota // nothing follows the head but size bytes
	shapeStr
	shapeBin
	shapeExt
	shapeArray
	shapeMap
)

// head is the first bytes of a value: what it is, and how much follows them.
type head struct {
	lead  byte
	shape shape
	// start is how many bytes the head itself has, the type byte of an Ext not included.
	start int
	// size counts the bytes that follow, or the elements of an array, or the pairs of a map.
	size uint64
}

// lengths says for the lead bytes c4 to df what they begin: its shape, and how many bytes its
// length or (for scalars) its value has.
var lengths = [...]struct {
	shape shape
	wide  int
}{
	{shapeBin, 1}, {shapeBin, 2}, {shapeBin, 4},
	{shapeExt, 1}, {shapeExt, 2}, {shapeExt, 4},
	{shapeScalar, 4}, {shapeScalar, 8}, // floats
	{shapeScalar, 1}, {shapeScalar, 2}, {shapeScalar, 4}, {shapeScalar, 8}, // unsigned
	{shapeScalar, 1}, {shapeScalar, 2}, {shapeScalar, 4}, {shapeScalar, 8}, // signed
	{shapeExt, -1}, {shapeExt, -2}, {shapeExt, -4}, {shapeExt, -8}, {shapeExt, -16}, // fixed sizes
	{shapeStr, 1}, {shapeStr, 2}, {shapeStr, 4},
	{shapeArray, 2}, {shapeArray, 4}, {shapeMap, 2}, {shapeMap, 4},
}

func readHead(b []byte) (head, error) {
	if len(b) == 0 {
		return head{}, ErrTruncated
	}
	lead := b[0]
	switch {
	case lead <= 0x7f, lead >= 0xe0, lead == 0xc0, lead == 0xc2, lead == 0xc3:
		return head{lead, shapeScalar, 1, 0}, nil
	case lead <= 0x8f:
		return head{lead, shapeMap, 1, uint64(lead & 0x0f)}, nil
	case lead <= 0x9f:
		return head{lead, shapeArray, 1, uint64(lead & 0x0f)}, nil
	case lead <= 0xbf:
		return head{lead, shapeStr, 1, uint64(lead & 0x1f)}, nil
	case lead == 0xc1:
		return head{}, ErrNotMsgpack
	}
	row := lengths[lead-0xc4]
	switch {
	case row.shape == shapeScalar:
		return head{lead, shapeScalar, 1, uint64(row.wide)}, nil
	case row.wide < 0:
		return head{lead, shapeExt, 1, uint64(-row.wide)}, nil
	case len(b) < 1+row.wide:
		return head{}, ErrTruncated
	}
	return head{lead, row.shape, 1 + row.wide, uintOf(b[1 : 1+row.wide])}, nil
}

func uintOf(b []byte) uint64 {
	var wide [8]byte
	copy(wide[8-len(b):], b)
	return binary.BigEndian.Uint64(wide[:])
}

// Skip returns the size of the value that b begins with. It looks at the structure alone, does
// not recurse, and allocates nothing.
func Skip(b []byte) (int, error) {
	at := 0
	// Each value that is announced needs a byte at least, so the count cannot overflow: there are
	// never more of them than bytes.
	for due := uint64(1); due > 0; due-- {
		h, err := readHead(b[at:])
		if err != nil {
			return 0, err
		}
		at += h.start
		switch h.shape {
		case shapeArray:
			due += h.size
		case shapeMap:
			due += 2 * h.size
		case shapeExt:
			h.size++
			fallthrough
		default:
			if h.size > uint64(len(b)-at) {
				return 0, ErrTruncated
			}
			at += int(h.size)
		}
		if due-1 > uint64(len(b)-at) {
			return 0, ErrTruncated
		}
	}
	return at, nil
}

// Resolve turns an extension value into what it stands for; an error breaks the value profile.
type Resolve func(Ext) (any, error)

// Decode builds the one value that b holds. Arrays and maps in one another may be depth deep.
// Extension types but the timestamp go through resolve, if it is not nil.
func Decode(b []byte, depth int, resolve Resolve) (any, error) {
	end, err := Skip(b)
	if err != nil {
		return nil, err
	}
	if end != len(b) {
		return nil, fmt.Errorf("%w: %d bytes behind the value", ErrProfile, len(b)-end)
	}
	d := decoder{b: b, resolve: resolve}
	return d.value(depth)
}

// decoder walks over bytes that Skip has approved.
type decoder struct {
	b       []byte
	at      int
	resolve Resolve
}

func (d *decoder) take(n int) []byte {
	taken := d.b[d.at : d.at+n]
	d.at += n
	return taken
}

func (d *decoder) value(depth int) (any, error) {
	h, err := readHead(d.b[d.at:])
	if err != nil {
		return nil, err
	}
	d.at += h.start
	switch h.shape {
	case shapeStr:
		return d.text(h)
	case shapeBin:
		return append([]byte{}, d.take(int(h.size))...), nil
	case shapeExt:
		code := int8(d.take(1)[0])
		return d.ext(Ext{code, append([]byte{}, d.take(int(h.size))...)})
	case shapeScalar:
		return scalar(h.lead, d.take(int(h.size))), nil
	}
	if depth == 0 {
		return nil, fmt.Errorf("%w: nested too deep", ErrProfile)
	}
	if h.shape == shapeArray {
		return d.array(int(h.size), depth-1)
	}
	return d.table(int(h.size), depth-1)
}

func (d *decoder) text(h head) (string, error) {
	raw := d.take(int(h.size))
	if !utf8.Valid(raw) {
		return "", fmt.Errorf("%w: a str that is not UTF-8", ErrProfile)
	}
	return string(raw), nil
}

func (d *decoder) array(n, depth int) (any, error) {
	array := make([]any, n)
	for i := range array {
		var err error
		if array[i], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return array, nil
}

func (d *decoder) table(n, depth int) (any, error) {
	table := make(map[string]any, min(n, 64)) // of n keys that are announced all may be the same
	for range n {
		h, err := readHead(d.b[d.at:])
		if err != nil {
			return nil, err
		}
		if h.shape != shapeStr {
			return nil, fmt.Errorf("%w: a key that is not a str", ErrProfile)
		}
		d.at += h.start
		key, err := d.text(h)
		if err != nil {
			return nil, err
		}
		if _, again := table[key]; again {
			return nil, fmt.Errorf("%w: the key %.40q twice", ErrProfile, key)
		}
		if table[key], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return table, nil
}

func (d *decoder) ext(x Ext) (any, error) {
	if x.Code == extTimestamp {
		if t, ok := timestamp(x.Data); ok {
			return t, nil
		}
		return nil, fmt.Errorf("%w: a timestamp of %d bytes", ErrProfile, len(x.Data))
	}
	if d.resolve == nil {
		return x, nil
	}
	return d.resolve(x)
}

func scalar(lead byte, raw []byte) any {
	switch {
	case lead <= 0x7f:
		return int64(lead)
	case lead >= 0xe0:
		return int64(int8(lead))
	}
	n := uintOf(raw)
	switch lead {
	case 0xc2, 0xc3:
		return lead == 0xc3
	case 0xca:
		return float64(math.Float32frombits(uint32(n)))
	case 0xcb:
		return math.Float64frombits(n)
	case 0xcc, 0xcd, 0xce, 0xcf:
		if n > math.MaxInt64 {
			return n
		}
		return int64(n)
	case 0xd0:
		return int64(int8(n))
	case 0xd1:
		return int64(int16(n))
	case 0xd2:
		return int64(int32(n))
	case 0xd3:
		return int64(n)
	}
	return nil
}

func timestamp(data []byte) (time.Time, bool) {
	var seconds int64
	var nanos uint64
	switch len(data) {
	case 4:
		seconds = int64(uintOf(data))
	case 8:
		both := uintOf(data)
		seconds, nanos = int64(both&(1<<34-1)), both>>34
	case 12:
		nanos, seconds = uintOf(data[:4]), int64(uintOf(data[4:]))
	default:
		return time.Time{}, false
	}
	return time.Unix(seconds, int64(nanos)).UTC(), nanos < 1e9
}
