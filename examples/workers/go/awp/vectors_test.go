package awp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// vectorDir is where the protocol's vectors are, if this is a part of the whole repository.
const vectorDir = "../../../../protocol/vectors"

// vector is what a stream vector has, see protocol/vectors/README.md.
type vector struct {
	ID, Kind, Prelude, Hex string
	Canonical              bool
	Frame                  map[string]any
	Before                 []step
	Reads                  []read
	Exact                  bool
	EOF                    string
	Expect, Answers        []map[string]any
	MayAnswer              []map[string]any `json:"may_answer"`
	HandleAck              map[string]any   `json:"handle_ack"`
	Abort                  *struct {
		Code     string
		Optional bool
	}
	Discarded []string
	State     string
}

type step struct{ Send, Receive string }

type read struct {
	Hex       string
	FDs       []string
	Truncated bool
	Repeat    int
}

func load(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Skip("the vectors of the protocol are not here")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		t.Fatal(err)
	}
}

func unhex(text string) []byte {
	raw, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return raw
}

// undiagnose reads the diagnostic form.
func undiagnose(value any) any {
	switch value := value.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(value.String(), 10, 64); err == nil {
			return n
		}
		x, _ := value.Float64()
		return x
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = undiagnose(element)
		}
		return list
	case map[string]any:
		return undiagnoseMap(value)
	}
	return value
}

func undiagnoseMap(table map[string]any) any {
	if text, ok := table["$bin"].(string); ok && len(table) == 1 {
		return unhex(text)
	}
	if pair, ok := table["$ext"].([]any); ok {
		code, _ := pair[0].(json.Number).Int64()
		x := msgpack.Ext{Code: int8(code), Data: unhex(pair[1].(string))}
		encoded, _ := msgpack.Append(nil, x, 1, nil)
		value, _ := msgpack.Decode(encoded, 1, nil) // a time, perhaps
		return value
	}
	if text, ok := table["$int"].(string); ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
		n, _ := strconv.ParseUint(text, 10, 64)
		return n
	}
	if text, ok := table["$float"].(string); ok {
		x, _ := strconv.ParseFloat(text, 64)
		return x
	}
	if triple, ok := table["$handle"].([]any); ok {
		return "handle " + triple[0].(string)
	}
	result := map[string]any{}
	if pairs, ok := table["$map"].([]any); ok {
		for _, pair := range pairs {
			result[pair.([]any)[0].(string)] = undiagnose(pair.([]any)[1])
		}
		return result
	}
	for key, element := range table {
		result[key] = undiagnose(element)
	}
	return result
}

// ---- frames and values ----

func TestVectorsOfFrames(t *testing.T) {
	var vectors []vector
	load(t, "frames.json", &vectors)
	for _, v := range vectors {
		raw := unhex(v.Hex)
		h, ok := parseHeader(raw)
		if !ok || int(h.length) != len(raw)-proto.HeaderSize {
			t.Errorf("%s: header %+v, %v", v.ID, h, ok)
			continue
		}
		if again := appendHeader(nil, h); v.Canonical && !bytes.Equal(again, raw[:proto.HeaderSize]) {
			t.Errorf("%s: written as %x", v.ID, again)
		}
		if v.Frame["body"] != nil || v.Frame["envelope"] == nil && v.Frame["payload"] == nil {
			continue
		}
		b, err := splitBody(raw[proto.HeaderSize:])
		if err != nil {
			t.Errorf("%s: %v", v.ID, err)
			continue
		}
		for part, encoded := range map[string][]byte{"envelope": b.envelope, "payload": b.payload} {
			want := undiagnose(v.Frame[part])
			got, err := msgpack.Decode(encoded, 64, nil)
			if err != nil || !same(got, want) {
				t.Errorf("%s: %s is %v, not %v (%v)", v.ID, part, got, want, err)
			}
			again, err := msgpack.Append(nil, got, 64, nil)
			if v.Canonical && (err != nil || len(again) != len(encoded)) {
				t.Errorf("%s: %s is written as %x, not %x (%v)", v.ID, part, again, encoded, err)
			}
		}
	}
}

// same compares decoded values; NaN is NaN.
func same(a, b any) bool {
	x, isX := a.(float64)
	y, isY := b.(float64)
	if isX && isY {
		return math.Float64bits(x) == math.Float64bits(y) || x != x && y != y
	}
	if list, ok := a.([]any); ok {
		other, ok := b.([]any)
		if !ok || len(list) != len(other) {
			return false
		}
		for i := range list {
			if !same(list[i], other[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// ---- streams ----

// stage is a session and what it told.
type stage struct {
	s      *session
	events []map[string]any
	fds    map[string]int
	inodes map[uint64]string
	sent   []sentFrame
	told   int // connections
}

func (g *stage) event(name string, fields map[string]any) {
	fields["event"] = name
	g.events = append(g.events, fields)
}

func (g *stage) welcomed() {
	is := g.s.is
	caps, handles := []any{}, []any{}
	for capability := range g.s.caps {
		caps = append(caps, string(capability))
	}
	for kind, taken := range g.s.takes {
		if taken {
			handles = append(handles, kind.String())
		}
	}
	for _, list := range [][]any{caps, handles} {
		sort.Slice(list, func(i, j int) bool { return list[i].(string) < list[j].(string) })
	}
	config := any(is.Config)
	if is.Config == nil {
		config = nil
	}
	g.event("Welcome", map[string]any{
		"version": []any{int64(1), int64(0)}, "worker": int64(is.ID), "cluster": is.Cluster,
		"capabilities": caps, "handles": handles, "heartbeat": is.Heartbeat.Seconds(), "config": config,
	})
}

func (g *stage) configured(settings map[string]any) {
	g.event("SettingsChanged", map[string]any{"settings": settings})
}

func (g *stage) stop(within time.Duration, limited bool, reason Reason) {
	name, deadline := "Stop", any(nil)
	if limited {
		deadline = within.Seconds()
	}
	g.event(name, map[string]any{"deadline": deadline, "reason": int64(reason)})
}

func (g *stage) handle(h *Handle) any {
	info, err := h.Stat()
	if err != nil {
		return err
	}
	return "handle " + g.inodes[info.Sys().(*syscall.Stat_t).Ino]
}

func (g *stage) plain(value any) any {
	switch value := value.(type) {
	case *Handle:
		return g.handle(value)
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = g.plain(element)
		}
		return list
	case map[string]any:
		table := map[string]any{}
		for key, element := range value {
			table[key] = g.plain(element)
		}
		return table
	}
	return value
}

func (g *stage) handles(handles []*Handle) any {
	list := []any{}
	for _, handle := range handles {
		list = append(list, g.handle(handle))
	}
	return list
}

func (g *stage) message(m *Message) *Error {
	fields := map[string]any{
		"to": normal(m.to.wire()), "sender": normal(Address{ID: m.From.ID}.wire()), "body": g.plain(m.Body),
		"handles": g.handles(m.Handles), "charge": int64(m.cost), "number": int64(m.number), "meta": map[string]any{},
	}
	if m.Meta != nil {
		fields["meta"] = m.Meta
	}
	if m.isCall {
		fields["channel"] = int64(m.channel)
		g.event("CallReceived", fields)
	} else {
		g.event("TellReceived", fields)
	}
	return nil
}

func (g *stage) cancelled(m *Message) {
	g.event("Cancelled", map[string]any{"channel": int64(m.channel), "reason": nil})
}

func (g *stage) undeliverable(u Undeliverable) {
	g.event("Undeliverable", map[string]any{
		"number": int64(u.Number), "to": normal(u.To.wire()), "error": u.Err.table(),
	})
}

func (g *stage) listening(l *Listener) {
	fields := map[string]any{"channel": int64(l.channel), "mode": l.mode, "address": l.address, "data": nil, "handle": nil}
	if l.inner != nil {
		fields["handle"] = "handle A"
	}
	g.event("Listening", fields)
}

func (g *stage) connections(l *Listener) {
	var handles []*Handle
	for _, c := range l.waiting {
		handles = append(handles, c.handle)
	}
	if len(handles) == g.told {
		return
	}
	g.told = len(handles)
	if handles != nil {
		g.event("Connections", map[string]any{
			"channel": int64(l.channel), "first": int64(l.waiting[0].number),
			"handles": g.handles(handles), "meta": map[string]any{},
		})
	}
}

func (g *stage) closed(err error) {
	if aborted, ok := err.(*Aborted); ok && !aborted.Here {
		detail := any(aborted.Detail)
		if detail == "" {
			detail = nil
		}
		g.event("Aborted", map[string]any{"code": int64(aborted.Code), "detail": detail})
	}
}

// set makes the session what the HELLO of a prelude says.
func (g *stage) set(table map[string]any) {
	limits := Limits{}.complete()
	if announced, ok := table["limits"].(map[string]any); ok {
		limits.update(announced)
	}
	g.s = newSession(g, limits)
	g.s.caps = map[proto.Capability]bool{}
	caps, _ := asStrings(table["caps"])
	for _, name := range caps {
		g.s.caps[proto.Capability(name)] = true
	}
	g.s.hello(identity{}, 1, nil)
}

// say does what the implementation does in a prelude.
func (g *stage) say(t *testing.T, raw []byte) {
	for len(raw) > 0 {
		h, _ := parseHeader(raw)
		b, err := splitBody(raw[proto.HeaderSize : proto.HeaderSize+h.length])
		if err != nil {
			t.Fatal(err)
		}
		raw = raw[proto.HeaderSize+h.length:]
		payload, _ := msgpack.Decode(b.payload, 64, nil)
		table, _ := payload.(map[string]any)
		switch h.kind {
		case proto.KindHello:
			g.set(table)
		case proto.KindReady:
			g.s.say(proto.KindReady, 0, nil, table)
		case proto.KindGoodbye:
			g.s.goodbye(0)
		case proto.KindTell, proto.KindCall:
			m := &leaving{kind: h.kind, payload: b.payload, begun: make(chan struct{})}
			if h.kind == proto.KindCall {
				m.call = &pending{done: make(chan struct{})}
				g.s.lastID = h.channel - 2
			}
			if err := g.s.submit(m); err != nil {
				t.Fatal(err)
			}
		case proto.KindListen:
			g.s.lastID = h.channel - 2
			l := &Listener{
				w: &Worker{s: g.s}, next: 1, settled: make(chan struct{}),
				ended: make(chan struct{}), changed: make(chan struct{}, 1),
			}
			n, _ := asUint(table["credit"])
			l.credit = max(int(n), 1)
			if err := g.s.listen(l, table); err != nil {
				t.Fatal(err)
			}
		case proto.KindSettings:
			g.s.announce(g.s.local)
		case proto.KindListenClose:
			delete(g.s.listeners, h.channel)
		default:
			// what only answers
		}
	}
}

// answersOf watches what becomes of calls: the session tells whoever waits.
func (g *stage) answersOf(calls map[uint32]*pending, listeners map[uint32]*Listener) {
	for channel, l := range listeners {
		if err, ok := l.err.(*Error); ok {
			delete(listeners, channel)
			g.event("ErrorReceived", map[string]any{"channel": int64(channel), "error": err.table()})
		}
	}
	for channel, call := range calls {
		select {
		case <-call.done:
			delete(calls, channel)
			if call.reply != nil {
				g.event("ReplyReceived", map[string]any{
					"channel": int64(channel), "body": g.plain(call.reply.Body),
					"handles": g.handles(call.reply.Handles), "meta": map[string]any{},
				})
			} else if g.s.ended == nil {
				g.event("ErrorReceived", map[string]any{"channel": int64(channel), "error": call.err.(*Error).table()})
			}
		default:
		}
	}
}

// kindsIn finds the kinds of the descriptors that a vector names.
func kindsIn(value any, found map[string]Kind) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			kindsIn(element, found)
		}
	case map[string]any:
		if triple, ok := value["$handle"].([]any); ok {
			n, _ := triple[1].(json.Number).Int64()
			found[triple[0].(string)] = Kind(n)
			return
		}
		for _, element := range value {
			kindsIn(element, found)
		}
	}
}

func TestVectorsOfStreams(t *testing.T) {
	preludes := map[string]struct {
		Role  string
		Steps []step
	}{}
	load(t, "preludes.json", &preludes)
	played := 0
	for _, name := range []string{
		"values", "streams", "fragments", "descriptors", "faults", "aborts", "monitors",
	} {
		var vectors []vector
		load(t, name+".json", &vectors)
		for _, v := range vectors {
			prelude := preludes[v.Prelude]
			if v.Kind != "stream" || prelude.Role != "worker" {
				continue
			}
			if strings.HasPrefix(v.ID, "down") || strings.HasPrefix(v.Prelude, "worker.monitor") {
				continue // of level 3
			}
			played++
			t.Run(v.ID, func(t *testing.T) { play(t, v, append(prelude.Steps, v.Before...), false) })
			if !v.Exact {
				t.Run(v.ID+"/bytes", func(t *testing.T) { play(t, v, append(prelude.Steps, v.Before...), true) })
			}
		}
	}
	t.Logf("%d vectors", played)
}

func play(t *testing.T, v vector, steps []step, bytewise bool) {
	g := &stage{fds: map[string]int{}, inodes: map[uint64]string{}}
	for _, step := range steps {
		if step.Send != "" {
			g.say(t, unhex(step.Send))
		} else {
			g.s.receive(unhex(step.Receive), nil, false)
		}
	}
	calls := map[uint32]*pending{}
	for channel, call := range g.s.pending {
		calls[channel] = call
	}
	listeners := map[uint32]*Listener{}
	for channel, l := range g.s.listeners {
		listeners[channel] = l
	}
	drain(g.s)
	g.events = nil
	found := map[string]Kind{}
	for _, expected := range v.Expect {
		kindsIn(map[string]any(expected), found)
	}
	for _, one := range v.Reads {
		raw := unhex(one.Hex)
		for range max(one.Repeat, 1) {
			fds := g.open(t, one.FDs, found)
			for i := 0; bytewise && i < len(raw)-1; i++ {
				g.s.receive(raw[i:i+1], fds, one.Truncated && i == 0)
				g.answersOf(calls, listeners)
				fds = nil
			}
			if bytewise && len(raw) > 1 {
				g.s.receive(raw[len(raw)-1:], nil, false)
			} else {
				g.s.receive(raw, fds, one.Truncated)
			}
			g.answersOf(calls, listeners)
		}
	}
	g.sent = drain(g.s)
	if v.EOF != "" {
		g.s.eof()
	}
	g.check(t, v)
	if v.EOF == "" && v.Abort == nil {
		g.s.close(ErrClosed)
	}
}

// open makes the descriptors of a read, each of the kind that is expected.
func (g *stage) open(t *testing.T, names []string, found map[string]Kind) []int {
	var fds []int
	for _, name := range names {
		kind, ok := found[name]
		if !ok {
			kind = TCPSocket
		}
		fd := openFD(t, kind)
		var stat syscall.Stat_t
		if err := syscall.Fstat(fd, &stat); err != nil {
			t.Fatal(err)
		}
		g.fds[name], g.inodes[stat.Ino] = fd, name
		fds = append(fds, fd)
	}
	return fds
}

// openFD makes a descriptor of some kind.
func openFD(t *testing.T, kind Kind) int {
	t.Helper()
	var fd int
	var err error
	switch want, isSocket := sockets[kind]; {
	case isSocket:
		domain := syscall.AF_UNIX
		if want.inet {
			domain = syscall.AF_INET
		}
		fd, err = syscall.Socket(domain, want.kind|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if want.listens && err == nil {
			if domain == syscall.AF_UNIX {
				err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@" + t.Name()})
			}
			if err == nil {
				err = syscall.Listen(fd, 1)
			}
		}
	case kind == File || kind == Opaque:
		fd, err = syscall.Open(os.Args[0], syscall.O_CLOEXEC, 0)
	default:
		pipe := make([]int, 2)
		err = syscall.Pipe2(pipe, syscall.O_CLOEXEC|syscall.O_NONBLOCK)
		fd = pipe[0]
		other := pipe[1]
		if kind == PipeWrite {
			fd, other = other, fd
		}
		syscall.Close(other)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// sentFrame is a frame that went out.
type sentFrame struct {
	header
	raw []byte
}

func drain(s *session) []sentFrame {
	var frames []sentFrame
	for !s.out.empty() {
		raw := s.out.next(nil, s.peer.MaxFrame).bytes
		for len(raw) > 0 {
			h, _ := parseHeader(raw)
			end := proto.HeaderSize + int(h.length)
			frames = append(frames, sentFrame{h, raw[proto.HeaderSize:end]})
			raw = raw[end:]
		}
	}
	return frames
}

// silent are events that this package tells nobody, as nothing here asks for them.
var silent = map[any]bool{
	"Pong": true, "CreditGranted": true, "Acknowledged": true, "Goodbye": true, "HandlesAcknowledged": true,
	"ListenClosed": true, "Unimplemented": true,
}

func (g *stage) check(t *testing.T, v vector) {
	t.Helper()
	if v.Abort != nil {
		aborted, ok := g.s.ended.(*Aborted)
		if !v.Abort.Optional && (!ok || aborted.Code.String() != v.Abort.Code) {
			t.Errorf("ended by %v, not %v", g.s.ended, v.Abort.Code)
		}
	} else if _, aborted := g.s.ended.(*Aborted); aborted && len(v.Expect) == 0 {
		t.Errorf("ended by %v", g.s.ended)
	}
	if v.State != "" && g.s.state.String() != v.State && (v.Abort == nil || !v.Abort.Optional) {
		t.Errorf("state %v, not %v", g.s.state, v.State)
	}
	if lost := v.EOF == "lost"; v.EOF != "" && v.Abort == nil && lost != (g.s.ended == ErrLost) {
		t.Errorf("the end is %v, not %s", g.s.ended, v.EOF)
	}
	g.checkEvents(t, v)
	g.checkAnswers(t, v)
	for _, name := range v.Discarded {
		var stat syscall.Stat_t
		if fd, ok := g.fds[name]; ok && syscall.Fstat(fd, &stat) == nil && g.inodes[stat.Ino] == name {
			t.Errorf("the descriptor %s is open", name)
		}
	}
}

func (g *stage) checkEvents(t *testing.T, v vector) {
	t.Helper()
	events := g.events
	for _, expected := range v.Expect {
		if silent[expected["event"]] {
			if len(events) > 0 && events[0]["event"] == "Stop" {
				events = events[1:] // GOODBYE is told so
			}
			continue
		}
		n := 1
		if repeat, ok := expected["repeat"].(json.Number); ok {
			many, _ := repeat.Int64()
			n = int(many)
		}
		for range n {
			if len(events) == 0 {
				t.Errorf("no %v", expected)
				return
			}
			got := events[0]
			events = events[1:]
			for key, raw := range expected {
				want := undiagnose(raw)
				if table, ok := want.(map[string]any); ok && key == "error" {
					for inner, value := range table {
						if other, _ := got[key].(map[string]any); !same(normal(other[inner]), value) {
							t.Errorf("%v: %s of the error is %v, not %v", got["event"], inner, other[inner], value)
						}
					}
				} else if number, ok := want.(int64); ok && key == "deadline" {
					if got[key] != float64(number) {
						t.Errorf("deadline %v", got[key])
					}
				} else if key != "repeat" && !same(got[key], want) {
					t.Errorf("%v: %s is %#v, not %#v", got["event"], key, got[key], want)
				}
			}
		}
	}
	if len(events) > 0 && events[0]["event"] != "Stop" {
		t.Errorf("events that nobody expected: %v", events)
	}
}

func describe(f sentFrame) string {
	b, err := splitBody(f.raw)
	if err != nil || f.kind == proto.KindPong {
		return fmt.Sprintf("%v on %d: %x", f.kind, f.channel, f.raw)
	}
	envelope, _ := msgpack.Decode(b.envelope, 64, nil)
	payload, _ := msgpack.Decode(b.payload, 64, nil)
	code := any(nil)
	if table, ok := payload.(map[string]any); ok {
		code = table["code"]
	}
	return fmt.Sprintf("%v on %d: %v %v", f.kind, f.channel, envelope, code)
}

func (g *stage) checkAnswers(t *testing.T, v vector) {
	t.Helper()
	got := map[string]int{}
	upto, lost := uint64(0), []any{}
	for _, f := range g.sent {
		switch f.kind {
		case proto.KindCredit, proto.KindAck, proto.KindConnCredit, proto.KindAbort:
		case proto.KindHandleAck:
			b, _ := splitBody(f.raw)
			value, _ := msgpack.Decode(b.envelope, 64, nil)
			upto, _ = asUint(at(value.([]any), 0))
			more, _ := asList(at(value.([]any), 1))
			lost = append(lost, more...)
		default:
			got[describe(f)]++
		}
	}
	if v.Abort != nil {
		return
	}
	want := map[string]int{}
	for _, answer := range v.Answers {
		n := int64(1)
		if repeat, ok := answer["repeat"].(json.Number); ok {
			n, _ = repeat.Int64()
		}
		text := fmt.Sprintf("%v on %v: ", answer["kind"], answer["channel"])
		if body, ok := answer["body"].(string); ok {
			text += body
		} else {
			envelope, _ := undiagnose(answer["envelope"]).([]any)
			for len(envelope) > 0 && envelope[len(envelope)-1] == nil {
				envelope = envelope[:len(envelope)-1]
			}
			table, _ := answer["payload"].(map[string]any)
			head := any(envelope)
			if envelope == nil {
				head = nil
			}
			text += fmt.Sprintf("%v %v", head, table["code"])
		}
		want[text] += int(n)
	}
	for text := range got {
		if strings.HasPrefix(text, "UNDELIVERABLE") && want[text] == 0 && len(v.Answers) == 1 && v.Answers[0]["envelope"] == nil {
			return // of which the vector says only that it comes
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("answers %v, not %v", got, want)
	}
	if v.HandleAck != nil {
		wanted, _ := asUint(undiagnose(v.HandleAck["upto"]))
		if upto != wanted || !same(lost, undiagnose(v.HandleAck["lost"])) {
			t.Errorf("HANDLE_ACK %d %v, not %v", upto, lost, v.HandleAck)
		}
	}
}
