package awp

import (
	"math"
	"strconv"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// Address names an actor: by its name, whoever bears it, or else by its id, which means one life.
// The zero value is the primary.
type Address struct {
	ID   uint64
	Name string
}

// Primary is where a worker's messages go that are for nobody else.
var Primary = Address{}

// Named is the address of whoever has that name.
func Named(name string) Address { return Address{Name: name} }

func (a Address) String() string {
	switch {
	case a.Name != "":
		return a.Name
	case a.ID != 0:
		return strconv.FormatUint(a.ID, 10)
	}
	return "primary"
}

// wire is how the address stands in an envelope. An id is preferred: it came with the message that
// is answered, and means that life.
func (a Address) wire() any {
	switch {
	case a.ID != 0:
		return a.ID
	case a.Name != "":
		return a.Name
	}
	return nil
}

// Ref is the address as a value in a body.
func (a Address) Ref() msgpack.Ext {
	var id, name any = a.ID, nil
	if a.Name != "" {
		name = a.Name
		if a.ID == 0 {
			id = nil
		}
	}
	data, _ := msgpack.Append(nil, []any{id, name}, 1, nil)
	return msgpack.Ext{Code: int8(proto.ExtRef), Data: data}
}

// AddressOf reads a reference to an actor in a body.
func AddressOf(x msgpack.Ext) (Address, bool) {
	var a Address
	value, err := msgpack.Decode(x.Data, 1, nil)
	list, ok := value.([]any)
	if err != nil || !ok || x.Code != int8(proto.ExtRef) {
		return a, false
	}
	if id := at(list, 0); id != nil {
		if a.ID, ok = asUint(id); !ok {
			return a, false
		}
	}
	if name := at(list, 1); name != nil {
		if a.Name, ok = name.(string); !ok {
			return a, false
		}
	}
	return a, true
}

// parseAddress reads what stands in an envelope.
func parseAddress(value any) (Address, bool) {
	switch value := value.(type) {
	case nil:
		return Address{}, true
	case string:
		return Address{Name: value}, true
	}
	id, ok := asUint(value)
	return Address{ID: id}, ok
}

// ---- reading values that somebody else has written ----

// at is an element of an envelope; one that is missing is nil (AWP-EV-1).
func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func asUint(value any) (uint64, bool) {
	switch value := value.(type) {
	case int64:
		return uint64(value), value >= 0
	case uint64:
		return value, true
	}
	return 0, false
}

// asNumber reads an integer or a float that is finite and not negative.
func asNumber(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), value >= 0
	case uint64:
		return float64(value), true
	case float64:
		return value, value >= 0 && !math.IsInf(value, 1)
	}
	return 0, false
}

// asList and asTable take nil for an empty one.
func asList(value any) ([]any, bool) {
	list, ok := value.([]any)
	return list, ok || value == nil
}

func asTable(value any) (map[string]any, bool) {
	table, ok := value.(map[string]any)
	return table, ok || value == nil
}

func asStrings(value any) ([]string, bool) {
	list, ok := asList(value)
	texts := make([]string, 0, len(list))
	for _, element := range list {
		text, isText := element.(string)
		texts, ok = append(texts, text), ok && isText
	}
	return texts, ok
}

// milliseconds is what a number on the wire means; more than a year is a year.
func milliseconds(ms float64) time.Duration {
	const year = 365 * 24 * time.Hour
	if ms >= float64(year/time.Millisecond) {
		return year
	}
	return time.Duration(max(ms, 0) * float64(time.Millisecond))
}
