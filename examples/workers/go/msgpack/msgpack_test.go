package msgpack

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestShortestForms(t *testing.T) {
	for _, row := range []struct {
		value any
		want  string
	}{
		{nil, "\xc0"}, {true, "\xc3"}, {false, "\xc2"},
		{0, "\x00"}, {127, "\x7f"}, {128, "\xcc\x80"}, {256, "\xcd\x01\x00"}, {65536, "\xce\x00\x01\x00\x00"},
		{uint64(math.MaxUint64), "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"},
		{-1, "\xff"}, {-32, "\xe0"}, {-33, "\xd0\xdf"}, {-129, "\xd1\xff\x7f"}, {-32769, "\xd2\xff\xff\x7f\xff"},
		{1.5, "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"},
		{"hi", "\xa2hi"}, {strings.Repeat("x", 32), "\xd9\x20" + strings.Repeat("x", 32)},
		{[]byte("b"), "\xc4\x01b"}, {[]any{1}, "\x91\x01"}, {[]string{"a"}, "\x91\xa1a"},
		{map[string]any{"b": 1, "a": nil}, "\x82\xa1a\xc0\xa1b\x01"},
		{map[string]int{"a": 1}, "\x81\xa1a\x01"},
		{Ext{5, []byte{9}}, "\xd4\x05\x09"}, {Ext{5, []byte{1, 2, 3}}, "\xc7\x03\x05\x01\x02\x03"},
		{time.Unix(1, 0), "\xd6\xff\x00\x00\x00\x01"},
	} {
		got, err := Append(nil, row.value, 8, nil)
		if err != nil || string(got) != row.want {
			t.Errorf("%v: %x, not %x (%v)", row.value, got, row.want, err)
		}
	}
}

func TestThereAndBack(t *testing.T) {
	for _, value := range []any{
		nil, true, int64(-5), int64(math.MinInt64), uint64(math.MaxUint64), 2.5, "text", []byte{}, []any{},
		map[string]any{"k": []any{int64(1), map[string]any{}}}, Ext{77, []byte("x")},
		time.Unix(1<<33, 5).UTC(), time.Unix(-1, 999999999).UTC(), time.Unix(7, 0).UTC(),
	} {
		encoded, err := Append(nil, value, 8, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(encoded, 8, nil)
		if err != nil || !reflect.DeepEqual(got, value) {
			t.Errorf("%#v comes back as %#v (%v)", value, got, err)
		}
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	cycle := []any{nil}
	cycle[0] = cycle
	for _, value := range []any{"\xff", map[int]int{1: 1}, func() {}, cycle} {
		if _, err := Append(nil, value, 8, nil); !errors.Is(err, ErrProfile) {
			t.Errorf("%T: %v", value, err)
		}
	}
}

func TestLies(t *testing.T) {
	bomb := bytes.Repeat([]byte("\xdd\xff\xff\xff\xff"), 60)
	for name, row := range map[string]struct {
		raw  string
		want error
	}{
		"arrays in arrays": {string(bomb), ErrTruncated},
		"map":              {"\xdf\xff\xff\xff\xff", ErrTruncated},
		"str":              {"\xdb\xff\xff\xff\xff", ErrTruncated},
		"ext":              {"\xc9\xff\xff\xff\xff\x01", ErrTruncated},
		"cut":              {"\xcd\x01", ErrTruncated},
		"nothing":          {"", ErrTruncated},
		"never used":       {"\xc1", ErrNotMsgpack},
		"too much":         {"\xc0\xc0", ErrProfile},
		"deep":             {strings.Repeat("\x91", 9) + "\xc0", ErrProfile},
		"key":              {"\x81\x01\x01", ErrProfile},
		"key twice":        {"\x82\xa1a\x01\xa1a\x01", ErrProfile},
		"utf-8":            {"\xa1\xff", ErrProfile},
	} {
		if _, err := Decode([]byte(row.raw), 8, nil); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALieCostsNothing(t *testing.T) {
	raw := append([]byte("\xdd\x00\x0f\x00\x00"), make([]byte, 0xeffff)...) // one element is missing
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode(raw, 8, nil); !errors.Is(err, ErrTruncated) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Fatal(used)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x82\xa1a\x93\x01\xc0\xc3\xa1b\xd6\xff\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		value, err := Decode(raw, 16, nil)
		if err != nil {
			return
		}
		encoded, err := Append(nil, value, 16, nil)
		if err != nil {
			t.Fatalf("%x cannot be written again: %v", raw, err)
		}
		if _, err := Decode(encoded, 16, nil); err != nil {
			t.Fatalf("%x is written as %x: %v", raw, encoded, err)
		}
	})
}
