package msgpack

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"
)

// Replace says what is written in place of a value that msgpack has no form for; false: nothing.
type Replace func(any) (Ext, bool)

// Append writes v behind b: everything that [Decode] gives, and numbers, strings, slices and maps
// of any Go type. Integers and lengths take their shortest form, the keys of a map are sorted.
// Arrays and maps in one another may be depth deep. The error wraps [ErrProfile].
func Append(b []byte, v any, depth int, replace Replace) ([]byte, error) {
	e := encoder{b: b, replace: replace}
	err := e.value(v, depth)
	return e.b, err
}

type encoder struct {
	b       []byte
	replace Replace
}

func (e *encoder) value(v any, depth int) error {
	switch v := v.(type) {
	case nil:
		e.b = append(e.b, 0xc0)
	case bool:
		if v {
			e.b = append(e.b, 0xc3)
		} else {
			e.b = append(e.b, 0xc2)
		}
	case string:
		return e.text(v)
	case []byte:
		e.b = AppendBinHead(e.b, len(v))
		e.b = append(e.b, v...)
	case Ext:
		e.ext(v)
	case time.Time:
		e.ext(Ext{extTimestamp, stamped(v)})
	case []any:
		return e.array(len(v), depth, func(i int) any { return v[i] })
	case map[string]any:
		return e.table(reflect.ValueOf(v), depth)
	default:
		if e.replace != nil {
			if x, ok := e.replace(v); ok {
				e.ext(x)
				return nil
			}
		}
		return e.other(reflect.ValueOf(v), depth)
	}
	return nil
}

// other writes values of types that only look like one that msgpack has.
func (e *encoder) other(v reflect.Value, depth int) error {
	switch v.Kind() {
	case reflect.Bool:
		return e.value(v.Bool(), depth)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.b = appendInt(e.b, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.b = appendUint(e.b, v.Uint())
	case reflect.Float32, reflect.Float64:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcb), math.Float64bits(v.Float()))
	case reflect.String:
		return e.text(v.String())
	case reflect.Slice, reflect.Array:
		return e.array(v.Len(), depth, func(i int) any { return v.Index(i).Interface() })
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			return e.table(v, depth)
		}
		fallthrough
	default:
		return fmt.Errorf("%w: a %v", ErrProfile, v.Type())
	}
	return nil
}

func (e *encoder) text(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: a string that is not UTF-8", ErrProfile)
	}
	if len(s) < 32 {
		e.b = append(e.b, 0xa0|byte(len(s)))
	} else {
		e.b = appendSized(e.b, 0xd9, 0xda, 0xdb, len(s))
	}
	e.b = append(e.b, s...)
	return nil
}

func (e *encoder) array(n, depth int, element func(int) any) error {
	if depth == 0 {
		return fmt.Errorf("%w: nested too deep", ErrProfile)
	}
	e.b = AppendArrayHead(e.b, n)
	for i := range n {
		if err := e.value(element(i), depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) table(v reflect.Value, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%w: nested too deep", ErrProfile)
	}
	if n := v.Len(); n < 16 {
		e.b = append(e.b, 0x80|byte(n))
	} else {
		e.b = appendSized(e.b, 0, 0xde, 0xdf, n)
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	for _, key := range keys {
		if err := e.text(key.String()); err != nil {
			return err
		}
		if err := e.value(v.MapIndex(key).Interface(), depth-1); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) ext(x Ext) {
	switch n := len(x.Data); n {
	case 1, 2, 4, 8, 16:
		e.b = append(e.b, map[int]byte{1: 0xd4, 2: 0xd5, 4: 0xd6, 8: 0xd7, 16: 0xd8}[n])
	default:
		e.b = appendSized(e.b, 0xc7, 0xc8, 0xc9, n)
	}
	e.b = append(append(e.b, byte(x.Code)), x.Data...)
}

// AppendArrayHead writes the head of an array of n elements, which follow.
func AppendArrayHead(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x90|byte(n))
	}
	return appendSized(b, 0, 0xdc, 0xdd, n)
}

// AppendBinHead writes the head of n bytes, which follow.
func AppendBinHead(b []byte, n int) []byte {
	return appendSized(b, 0xc4, 0xc5, 0xc6, n)
}

// appendSized writes a lead byte and the length that it is for; one8 of 0: there is no such form.
func appendSized(b []byte, one8, one16, one32 byte, n int) []byte {
	switch {
	case n <= math.MaxUint8 && one8 != 0:
		return append(b, one8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, one16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, one32), uint32(n))
}

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n <= 0x7f:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
}

func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(b, uint64(n))
	case n >= -32:
		return append(b, byte(n))
	case n >= math.MinInt8:
		return append(b, 0xd0, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n))
}

func stamped(t time.Time) []byte {
	seconds, nanos := t.Unix(), uint64(t.Nanosecond())
	switch {
	case seconds >= 0 && seconds <= math.MaxUint32 && nanos == 0:
		return binary.BigEndian.AppendUint32(nil, uint32(seconds))
	case seconds >= 0 && seconds < 1<<34:
		return binary.BigEndian.AppendUint64(nil, nanos<<34|uint64(seconds))
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(nanos)), uint64(seconds))
}
