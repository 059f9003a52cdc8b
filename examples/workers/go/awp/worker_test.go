package awp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// primary is the other end of a worker's connection: it says and hears frames, one at a time.
type primary struct {
	t    *testing.T
	conn *net.UnixConn
	buf  []byte
	fds  []int
	exit chan int
}

// came is a frame that the worker sent.
type came struct {
	header
	envelope []any
	payload  any
	raw      []byte
}

// pair starts a worker under a primary. At the end of the test nothing of it may be left.
func pair(t *testing.T, config Config) (*Worker, *primary) {
	t.Helper()
	before := runtime.NumGoroutine()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "end")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		ends[i] = conn.(*net.UnixConn)
	}
	p := &primary{t: t, conn: ends[1], exit: make(chan int, 1)}
	if err := p.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	p.say(proto.KindWelcome, 0, nil, map[string]any{
		"version": []int{1, 0}, "worker": 7, "cluster": make([]byte, 16), "name": "gopher",
		"caps": offered, "handles": []string{"tcp-socket", "tcp-listener", "file"},
	})
	w, err := start(context.Background(), config, ends[0], identity{worker: 7}, func(status int) { p.exit <- status })
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Ready(nil); err != nil {
		t.Fatal(err)
	}
	p.hear(proto.KindHello)
	p.hear(proto.KindReady)
	t.Cleanup(func() {
		p.conn.Close()
		<-w.Done()
		w.group.Wait()
		for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<16)
				t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
	return w, p
}

func (p *primary) say(kind proto.Kind, channel uint32, envelope []any, payload any, fds ...int) {
	p.t.Helper()
	body := encodeFrame(envelope, payload)
	p.write(append(appendHeader(nil, header{
		kind: kind, channel: channel, length: uint32(len(body)), nfds: len(fds),
	}), body...), fds...)
}

func (p *primary) write(raw []byte, fds ...int) {
	p.t.Helper()
	var beside []byte
	if len(fds) > 0 {
		beside = syscall.UnixRights(fds...)
	}
	for len(raw) > 0 {
		n, _, err := p.conn.WriteMsgUnix(raw, beside, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		raw, beside = raw[n:], nil
	}
}

// next is the next frame, or false at the end of the stream.
func (p *primary) next() (came, bool) {
	p.t.Helper()
	piece, beside := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(4*maxGroup))
	for {
		if len(p.buf) >= proto.HeaderSize {
			h, ok := parseHeader(p.buf)
			end := proto.HeaderSize + int(h.length)
			if !ok {
				p.t.Fatalf("no header: %x", p.buf[:proto.HeaderSize])
			}
			if len(p.buf) >= end {
				f := came{header: h, raw: p.buf[proto.HeaderSize:end]}
				p.buf = p.buf[end:]
				if b, err := splitBody(f.raw); err == nil {
					head, _ := msgpack.Decode(b.envelope, 64, nil)
					f.envelope, _ = head.([]any)
					f.payload, _ = msgpack.Decode(b.payload, 64, nil)
				}
				return f, true
			}
		}
		n, m, _, _, err := p.conn.ReadMsgUnix(piece, beside)
		p.fds = append(p.fds, rights(beside[:m])...)
		p.buf = append(p.buf, piece[:n]...)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				p.t.Fatal(err)
			}
			return came{}, false
		}
	}
}

// hear is the next frame of a kind; what gathers may come before it.
func (p *primary) hear(kind proto.Kind) came {
	p.t.Helper()
	for {
		f, ok := p.next()
		if !ok {
			p.t.Fatalf("the end, and no %v", kind)
		}
		if f.kind == kind {
			return f
		}
		switch f.kind {
		case proto.KindAck, proto.KindCredit, proto.KindHandleAck, proto.KindConnCredit:
		default:
			p.t.Fatalf("%v %v %v, and no %v", f.kind, f.envelope, f.payload, kind)
		}
	}
}

func (p *primary) end() {
	p.t.Helper()
	p.say(proto.KindGoodbye, 0, nil, map[string]any{"recv": 0})
	if err := p.conn.CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

// close is how a worker ends in these tests.
func (p *primary) close(w *Worker) {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- w.Close() }()
	p.hear(proto.KindGoodbye)
	p.say(proto.KindGoodbye, 0, nil, map[string]any{"recv": 0})
	p.conn.Close()
	if err := <-done; err != nil {
		p.t.Fatal(err)
	}
}

func tcpPair(t *testing.T) (client net.Conn, fd int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	raw, _ := server.(*net.TCPConn).SyscallConn()
	if err := raw.Control(func(n uintptr) { fd, err = duplicate(int(n)) }); err != nil {
		t.Fatal(err)
	}
	return client, fd
}

func TestMessagesBothWays(t *testing.T) {
	w, p := pair(t, Config{})
	p.say(proto.KindCall, 2, []any{nil, nil, nil, map[string]any{"name": "boss"}}, []any{1, "x"})
	m, err := w.Receive(context.Background())
	if err != nil || !m.IsCall() || m.From.Name != "boss" {
		t.Fatal(m, err)
	}
	if err := m.Reply(m.Body); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if f := p.hear(proto.KindReply); f.channel != 2 || !same(f.payload, []any{int64(1), "x"}) {
		t.Fatal(f)
	}
	answered := make(chan any)
	go func() {
		reply, err := w.Call(context.Background(), Primary, "what?")
		if err != nil {
			answered <- err
		} else {
			answered <- reply.Body
		}
	}()
	p.say(proto.KindReply, p.hear(proto.KindCall).channel, nil, "that")
	if got := <-answered; got != "that" {
		t.Fatal(got)
	}
	p.close(w)
}

func TestPingIsAnsweredWhileNobodyReceives(t *testing.T) {
	w, p := pair(t, Config{})
	for range 20 {
		p.say(proto.KindTell, 0, nil, "nobody takes this")
	}
	p.say(proto.KindPing, 9, nil, 7)
	if f := p.hear(proto.KindPong); f.channel != 9 || !bytes.Equal(f.raw, []byte{0xc0, 7}) {
		t.Fatal(f)
	}
	p.close(w)
}

func TestCreditComesBackWhenAMessageIsTaken(t *testing.T) {
	w, p := pair(t, Config{})
	p.say(proto.KindTell, 0, nil, "a")
	p.say(proto.KindTell, 0, nil, "b")
	for range 2 {
		m, err := w.Receive(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	total := int64(0)
	for total < 512 {
		if f, _ := p.next(); f.kind == proto.KindCredit {
			total += f.envelope[0].(int64)
		}
	}
	if total != 512 {
		t.Fatal(total)
	}
	p.close(w)
}

func TestASenderWaitsForCredit(t *testing.T) {
	w, p := pair(t, Config{})
	limit := w.s.peer.Window / 256
	sent := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for range limit {
			if err := w.Tell(context.Background(), Primary, nil); err != nil {
				sent <- err
				return
			}
		}
		sent <- w.Tell(ctx, Primary, "one too many")
	}()
	for range limit {
		p.hear(proto.KindTell)
	}
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.say(proto.KindCredit, 0, []any{256}, nil)
	if err := w.Tell(context.Background(), Primary, "now"); err != nil {
		t.Fatal(err)
	}
	if f := p.hear(proto.KindTell); f.payload != "now" {
		t.Fatal(f)
	}
	p.close(w)
}

func TestFragmentsLetOthersPass(t *testing.T) {
	w, p := pair(t, Config{})
	large := strings.Repeat("x", 3<<20)
	if err := w.Tell(context.Background(), Primary, large); err != nil {
		t.Fatal(err)
	}
	p.say(proto.KindPing, 0, nil, nil)
	pieces, passed, got := 0, false, []byte(nil)
	for more := true; more; {
		f, _ := p.next()
		switch f.kind {
		case proto.KindPong:
			passed = true
		case proto.KindTell:
			pieces++
			got = append(got, f.payload.([]byte)...)
			more = f.has(proto.FlagMore)
		}
	}
	text, err := msgpack.Decode(got, 1, nil)
	if err != nil || text != large || pieces < 12 || !passed {
		t.Fatal(err, len(got), pieces, passed)
	}
	p.close(w)
}

func TestACallIsCancelledFromBothSides(t *testing.T) {
	w, p := pair(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := w.Call(ctx, Primary, nil)
		failed <- err
	}()
	channel := p.hear(proto.KindCall).channel
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if f := p.hear(proto.KindCancel); f.channel != channel {
		t.Fatal(f)
	}
	p.say(proto.KindCall, 2, nil, nil)
	m, err := w.Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p.say(proto.KindCancel, 2, nil, nil)
	<-m.Context().Done()
	m.Fail(context.Cause(m.Context()))
	if f := p.hear(proto.KindError); f.payload.(map[string]any)["code"] != "cancelled" {
		t.Fatal(f)
	}
	p.close(w)
}

func TestOneAddressGetsHalfOfTheWindow(t *testing.T) {
	w, p := pair(t, Config{})
	half := w.s.peer.Window / 2 / 256
	sent := make(chan error)
	go func() {
		for range half + 1 {
			if err := w.Tell(context.Background(), Named("stuck"), nil); err != nil {
				sent <- err
			}
		}
		close(sent)
	}()
	asked := came{}
	for tells := 0; tells < half; {
		switch f, _ := p.next(); f.kind {
		case proto.KindTell:
			tells++
		case proto.KindCall:
			asked = f
		}
	}
	if asked.envelope[0] != "stuck" || asked.envelope[3].(map[string]any)["room"] != true {
		t.Fatal(asked)
	}
	if err := w.Tell(context.Background(), Named("other"), nil); err != nil {
		t.Fatal(err)
	}
	if f := p.hear(proto.KindTell); f.envelope[0] != "other" {
		t.Fatal(f)
	}
	p.say(proto.KindReply, asked.channel, nil, nil)
	p.hear(proto.KindTell)
	p.hear(proto.KindCall) // the next question
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	p.close(w)
}

func TestConnectionsAreTakenFromAListenerLikeAnyOther(t *testing.T) {
	w, p := pair(t, Config{})
	listener := make(chan net.Listener)
	go func() {
		l, err := w.Listen(context.Background(), ListenConfig{Network: "tcp", Port: 80, Open: 2})
		if err != nil {
			t.Error(err)
		}
		listener <- l
	}()
	f := p.hear(proto.KindListen)
	if table := f.payload.(map[string]any); table["credit"] != int64(2) || table["transport"] != "tcp" {
		t.Fatal(table)
	}
	p.say(proto.KindListening, f.channel, nil, map[string]any{"mode": "handoff", "address": []any{"127.0.0.1", 80}})
	l := <-listener
	served := make(chan error)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				served <- err
				return
			}
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()

	client, fd := tcpPair(t)
	entry := []any{uint8(TCPSocket), map[string]any{"head": []byte("what was read before, ")}}
	p.say(proto.KindConn, f.channel, []any{1, []any{entry}}, nil, fd)
	syscall.Close(fd)
	if reply := p.hear(proto.KindConnReply); !same(reply.envelope, []any{int64(1)}) {
		t.Fatal(reply.envelope)
	}
	if _, err := io.WriteString(client, "and the rest"); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	echo, err := io.ReadAll(client)
	if err != nil || string(echo) != "what was read before, and the rest" {
		t.Fatal(string(echo), err)
	}
	if credit := p.hear(proto.KindConnCredit); !same(credit.envelope, []any{int64(1), int64(1)}) {
		t.Fatal(credit.envelope)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	p.hear(proto.KindListenClose)
	p.close(w)
}

func TestStopGivesBackWhatNobodyHasTaken(t *testing.T) {
	w, p := pair(t, Config{})
	got := make(chan *Listener)
	go func() {
		l, _ := w.Listen(context.Background(), ListenConfig{Network: "tcp", Open: 3})
		got <- l
	}()
	channel := p.hear(proto.KindListen).channel
	p.say(proto.KindListening, channel, nil, map[string]any{"mode": "handoff"})
	l := <-got
	_, fd := tcpPair(t)
	entry := []any{uint8(TCPSocket)}
	p.say(proto.KindConn, channel, []any{1, []any{entry}}, nil, fd)
	p.say(proto.KindStop, 0, nil, map[string]any{"deadline": 60000})
	if f := p.hear(proto.KindConnReply); !same(f.envelope, []any{int64(1), []any{int64(1)}}) {
		t.Fatal(f.envelope)
	}
	p.hear(proto.KindListenClose)
	p.say(proto.KindConn, channel, []any{2, []any{entry}}, nil, fd)
	if f := p.hear(proto.KindConnReply); !same(f.envelope, []any{int64(2), []any{int64(2)}}) {
		t.Fatal(f.envelope)
	}
	syscall.Close(fd)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := w.Receive(context.Background()); !errors.Is(err, ErrStopping) {
		t.Fatal(err)
	}
	p.close(w)
}

func TestDeadlineOfStopIsKeptForAProgramThatIgnoresIt(t *testing.T) {
	w, p := pair(t, Config{})
	p.say(proto.KindCall, 2, nil, nil)
	m, err := w.Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p.say(proto.KindCall, 4, nil, nil) // stays in the mailbox
	p.say(proto.KindStop, 0, nil, map[string]any{"deadline": 50})
	if f := p.hear(proto.KindError); f.channel != 4 || f.payload.(map[string]any)["code"] != "stopping" {
		t.Fatal(f)
	}
	if f := p.hear(proto.KindError); f.channel != 2 || f.payload.(map[string]any)["code"] != "not_handled" {
		t.Fatal(f)
	}
	if f := p.hear(proto.KindGoodbye); f.payload.(map[string]any)["recv"] != int64(2) {
		t.Fatal(f)
	}
	if _, more := p.next(); more {
		t.Fatal("more after GOODBYE")
	}
	<-m.Context().Done()
	p.end()
	<-w.Done()
	if err := w.Err(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestAHandleGoesThereAndBack(t *testing.T) {
	w, p := pair(t, Config{})
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	entry := []any{uint8(File), map[string]any{"name": "n"}}
	reference := msgpack.Ext{Code: int8(proto.ExtHandle), Data: []byte{0}}
	p.say(proto.KindCall, 2, []any{nil, nil, []any{entry}}, []any{reference}, int(file.Fd()))
	m, err := w.Receive(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reply(m.Body); err != nil {
		t.Fatal(err)
	}
	m.Close() // which has not got it any more
	f := p.hear(proto.KindReply)
	if f.nfds != 1 || len(p.fds) != 1 || !same(f.payload, []any{reference}) {
		t.Fatal(f, p.fds)
	}
	var here, there syscall.Stat_t
	_ = syscall.Fstat(int(file.Fd()), &here)
	if err := syscall.Fstat(p.fds[0], &there); err != nil || here.Ino != there.Ino {
		t.Fatal(err, here.Ino, there.Ino)
	}
	syscall.Close(p.fds[0])
	p.say(proto.KindHandleAck, 0, []any{1}, nil)
	p.close(w)
}

func TestThePrimaryIsGone(t *testing.T) {
	w, p := pair(t, Config{})
	p.conn.Close()
	<-w.Done()
	if err := w.Err(); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	if status := <-p.exit; status != 0 {
		t.Fatal(status)
	}
	if err := w.Tell(context.Background(), Primary, nil); err == nil {
		t.Fatal("a message to nobody")
	}
}

func TestAPrimaryThatReadsNothingIsGivenUp(t *testing.T) {
	w, p := pair(t, Config{})
	raw := bytes.Repeat(append(appendHeader(nil, header{kind: proto.KindPing, length: 1 << 16}),
		make([]byte, 1<<16)...), 16)
	for w.Err() == nil {
		if _, err := p.conn.Write(raw); err != nil {
			break
		}
	}
	<-w.Done()
	var aborted *Aborted
	if err := w.Err(); !errors.As(err, &aborted) || aborted.Code != proto.AbortLimitExceeded {
		t.Fatal(err)
	}
	<-p.exit
}

func TestLogsOfSlog(t *testing.T) {
	w, p := pair(t, Config{})
	logger := slog.New(w.LogHandler("web")).With("a", 1).WithGroup("g")
	logger.Warn("look", "b", time.Second, slog.Group("c", "d", true))
	f := p.hear(proto.KindLog)
	want := []any{"look", map[string]any{"a": int64(1), "g.b": "1s", "g.c.d": true}}
	if !f.has(proto.FlagOptional) || f.envelope[0] != int64(30) || f.envelope[2] != "web" || !same(f.payload, want) {
		t.Fatal(f)
	}
	p.say(proto.KindSettings, 0, nil, map[string]any{"log_level": 40, "config": map[string]any{"k": 1}})
	p.hear(proto.KindSettingsAck)
	if logger.Enabled(context.Background(), slog.LevelWarn) || w.Welcome().Config["k"] != int64(1) {
		t.Fatal(w.Welcome())
	}
	p.close(w)
}
