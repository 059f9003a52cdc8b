package awp

import (
	"math"
	"strconv"
	"strings"

	proto "example.com/actorcluster/internal/awp"
)

// Limits are what one side can receive (section 15). A field of 0 stands for the default.
type Limits struct {
	MaxFrame, MaxMessage, MaxPartial, Window, MaxDepth, MaxFDs, FDsInFlight, MaxCalls, MaxMeta int

	// Others are limits on what a worker of this package never receives, as it was told them.
	others map[string]int
}

// fields pairs the limits with what the registry says of them.
func (l *Limits) fields() []struct {
	of    proto.Limit
	value *int
} {
	return []struct {
		of    proto.Limit
		value *int
	}{
		{proto.LimitMaxFrame, &l.MaxFrame},
		{proto.LimitMaxMessage, &l.MaxMessage},
		{proto.LimitMaxPartial, &l.MaxPartial},
		{proto.LimitWindow, &l.Window},
		{proto.LimitMaxDepth, &l.MaxDepth},
		{proto.LimitMaxFDs, &l.MaxFDs},
		{proto.LimitFDsInFlight, &l.FDsInFlight},
		{proto.LimitMaxCalls, &l.MaxCalls},
		{proto.LimitMaxMeta, &l.MaxMeta},
	}
}

// complete puts defaults where nothing is said, and raises what is below its floor (AWP-LM-1).
func (l Limits) complete() Limits {
	for _, field := range l.fields() {
		if *field.value == 0 {
			*field.value = int(field.of.Default)
		}
		*field.value = max(*field.value, int(field.of.Floor))
	}
	l.MaxFDs = min(l.MaxFDs, maxGroup)
	return l
}

// announced is the map of HELLO: what differs from the defaults.
func (l Limits) announced() map[string]any {
	table := map[string]any{}
	for _, field := range l.fields() {
		if *field.value != int(field.of.Default) {
			table[field.of.Name] = *field.value
		}
	}
	for name, value := range l.others {
		table[name] = value
	}
	return table
}

// all is the map of SETTINGS.
func (l Limits) all() map[string]any {
	table := map[string]any{}
	for _, field := range l.fields() {
		table[field.of.Name] = *field.value
	}
	return table
}

// update takes a map of limits; false: one is not a number.
func (l *Limits) update(table map[string]any) bool {
	for _, field := range l.fields() {
		value, ok := table[field.of.Name]
		if !ok || value == nil {
			continue
		}
		n, ok := asUint(value)
		if !ok {
			return false
		}
		*field.value = max(int(min(n, math.MaxInt32)), int(field.of.Floor))
	}
	return true
}

// parse takes the variable ACTORCLUSTER_LIMITS (AWP-TR-8). What it cannot read it passes over.
func (l *Limits) parse(text string) {
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			continue
		}
		known := false
		for _, field := range l.fields() {
			known = known || field.of.Name == name
		}
		if known {
			l.update(map[string]any{name: n})
		} else {
			if l.others == nil {
				l.others = map[string]int{}
			}
			l.others[name] = int(n)
		}
	}
}
