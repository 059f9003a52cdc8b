package awp

import (
	"context"
	"fmt"
	"net"
	"syscall"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// ListenConfig asks for a port that workers share.
type ListenConfig struct {
	// Network is "tcp", "unix", or "udp", which is always shared.
	Network string
	// Host is a numeric address; "" are all of them. Port 0 is any free one, the same for all
	// workers that ask with the same Key.
	Host string
	Port int
	// Path of a Unix socket, absolute.
	Path string
	// Shared lets this worker accept by itself; otherwise the primary does, and hands over.
	Shared bool
	// Open is how many connections this worker has at once, at most, where the primary accepts:
	// who closes one gets the next. 0 means 1.
	Open int
	// More are other keys of LISTEN, as "key", "backlog" or "policy".
	More map[string]any
}

func (c ListenConfig) request() map[string]any {
	request := map[string]any{}
	for key, value := range c.More {
		request[key] = value
	}
	request[proto.KeyListenTransport] = c.Network
	if c.Network == "unix" {
		request[proto.KeyListenPath] = c.Path
	} else {
		request[proto.KeyListenPort] = c.Port
		if c.Host != "" {
			request[proto.KeyListenHost] = c.Host
		}
	}
	mode := "handoff"
	if c.Shared || c.Network == "udp" {
		mode = "shared"
	}
	request[proto.KeyListenModes] = []string{mode}
	request[proto.KeyListenCredit] = max(c.Open, 1)
	return request
}

// Listener gives the connections of a shared port, by whichever way they come. It is a
// [net.Listener]: net/http serves it as it is.
type Listener struct {
	w       *Worker
	channel uint32
	modes   []string // those that may be chosen

	// Guarded by the worker's lock.
	mode    string
	address any
	err     error         // why it has ended
	settled chan struct{} // closed when LISTENING or ERROR has come
	isUp    bool          // LISTENING has come
	ended   chan struct{}
	changed chan struct{}  // has an element when waiting has grown
	inner   net.Listener   // in mode shared
	packets net.PacketConn // in mode shared, of a UDP socket

	credit  int             // connections that may still be handed over
	next    uint64          // number of the next
	waiting []*waitingConn  // handed over, and not taken
	replied uint64          // what CONN_REPLY has spoken of
	closed  uint64          // connections that were taken and closed again
	dropped uint64          // those of them that nobody ever saw
	reject  map[uint64]bool // numbers that will never be taken, before those that wait
}

// waitingConn is a connection that was handed over and that nobody has touched.
type waitingConn struct {
	number uint64
	handle *Handle
}

// Listen asks the primary for a port, and waits until it is bound.
func (w *Worker) Listen(ctx context.Context, config ListenConfig) (*Listener, error) {
	return w.ListenRaw(ctx, config.request())
}

// ListenRaw is Listen with the map of LISTEN as it is (section 17).
func (w *Worker) ListenRaw(ctx context.Context, request map[string]any) (*Listener, error) {
	l := &Listener{
		w: w, next: 1, credit: 1,
		settled: make(chan struct{}), ended: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	if n, ok := asUint(normal(request[proto.KeyListenCredit])); ok {
		l.credit = int(min(n, 1<<30))
	}
	if modes, ok := request[proto.KeyListenModes]; ok {
		l.modes, _ = asStrings(normal(modes))
	}
	w.lock()
	err := w.s.listen(l, request)
	w.unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-l.settled:
	case <-ctx.Done():
		l.Close()
		return nil, ctx.Err()
	}
	w.lock()
	defer w.unlock()
	if l.err != nil {
		return nil, l.err
	}
	return l, nil
}

func (s *session) listen(l *Listener, request map[string]any) error {
	if s.ended != nil {
		return s.ended
	}
	if !proto.WorkerMaySend(s.state, proto.KindListen) {
		return ErrStopping
	}
	l.channel = s.open()
	body := encodeFrame(nil, request)
	if len(body) == 2 && len(request) > 0 {
		return failure(proto.ErrorCodeBadPayload, "a request that cannot be encoded")
	}
	s.listeners[l.channel] = l
	s.send(&item{header: header{kind: proto.KindListen, channel: l.channel}, body: body})
	return nil
}

// takeListening learns that the port is bound.
func (s *session) takeListening(f *frame) {
	l := s.listeners[f.channel]
	if l == nil {
		closeFDs(f.fds) // it crossed our LISTEN_CLOSE
		return
	}
	envelope, ok := s.envelope(f)
	entries, isList := asList(at(envelope, 0))
	table, isTable := s.payload(f).(map[string]any)
	mode, isText := table[proto.KeyListeningMode].(string)
	if !ok || !isList || !isTable || !isText || l.isUp || len(entries) != f.nfds || !s.mayListen(l, mode, f.nfds) {
		closeFDs(f.fds)
		s.abort(proto.AbortProtocolError, "LISTENING: "+malformed.Error(), f.raw)
		return
	}
	handles, wrong := s.readHandles(entries, f)
	if wrong == nil {
		if wrong = verifyAll(handles); wrong == nil && mode == "shared" {
			wrong = l.own(handles[0])
		}
		closeAll(handles)
	}
	if wrong != nil { // as if it were an ERROR (AWP-FD-5)
		delete(s.listeners, f.channel)
		l.end(wrong)
		return
	}
	l.mode, l.address, l.isUp = mode, table[proto.KeyListeningAddress], true
	close(l.settled)
	s.up.listening(l)
}

// own takes the socket of mode shared.
func (l *Listener) own(handle *Handle) *Error {
	var err error
	switch handle.Kind {
	case UDPSocket:
		l.packets, err = handle.PacketConn()
	case TCPListener, UnixListener:
		l.inner, err = handle.Listener()
	default:
		err = errMismatch
	}
	if err != nil {
		return failure(proto.ErrorCodeUnsupportedHandle, "%v: %v", handle.Kind, err)
	}
	return nil
}

// mayListen says whether this mode was asked for, and comes with what it needs (AWP-LI-5).
func (s *session) mayListen(l *Listener, mode string, nfds int) bool {
	asked := l.modes == nil
	for _, other := range l.modes {
		asked = asked || other == mode
	}
	switch mode {
	case "handoff":
		return asked && nfds == 0 && s.caps[proto.CapabilityListenHandoff]
	case "shared":
		return asked && nfds == 1 && s.caps[proto.CapabilityListenShared]
	}
	return false
}

// takeConnections queues connections that were handed over, or gives them back.
func (s *session) takeConnections(f *frame) {
	envelope, ok := s.envelope(f)
	first, isNumber := asUint(at(envelope, proto.EnvConnFirst))
	entries, isList := asList(at(envelope, proto.EnvConnHandles))
	_, isTable := asTable(at(envelope, proto.EnvConnMeta))
	l := s.listeners[f.channel]
	if !ok || !isNumber || !isList || !isTable || len(entries) != f.nfds || len(entries) == 0 || first == 0 ||
		l != nil && first != l.next {
		closeFDs(f.fds)
		s.abort(proto.AbortProtocolError, "CONN: "+malformed.Error(), f.raw)
		return
	}
	if l == nil || !l.isUp {
		closeFDs(f.fds)
		s.rejectAll(f.channel, first, len(entries))
		return
	}
	if len(entries) > l.credit {
		closeFDs(f.fds)
		s.abort(proto.AbortFlowViolation,
			fmt.Sprintf("%d connections, %d are allowed", len(entries), l.credit), f.raw)
		return
	}
	l.credit -= len(entries)
	l.next += uint64(len(entries))
	for i, entry := range entries {
		number := first + uint64(i)
		kind, meta, ok := s.readEntry(entry)
		if !ok {
			closeFDs(f.fds[min(i, len(f.fds)):])
			s.abort(proto.AbortProtocolError, "CONN: a broken description of a handle", f.raw)
			return
		}
		if f.lost {
			l.turnDown(number)
			continue
		}
		if f.refuse || kind != TCPSocket && kind != UnixStream || verify(kind, f.fds[i]) != nil {
			syscall.Close(f.fds[i])
			l.turnDown(number)
			continue
		}
		l.waiting = append(l.waiting, &waitingConn{number, newHandle(kind, meta, f.fds[i])})
	}
	if len(l.waiting) == 0 {
		l.reply(l.next - 1)
	} else {
		s.up.connections(l)
	}
}

func (s *session) rejectAll(channel uint32, first uint64, n int) {
	rejected := make([]uint64, n)
	for i := range rejected {
		rejected[i] = first + uint64(i)
	}
	s.answer(proto.KindConnReply, channel, []any{first + uint64(n) - 1, rejected}, nil)
}

// turnDown remembers a connection for the next CONN_REPLY. One that is given back gives no credit:
// while the worker goes on, it asks for another.
func (l *Listener) turnDown(number uint64) {
	if l.reject == nil {
		l.reject = map[uint64]bool{}
	}
	l.reject[number] = true
	if l.w.s.state == proto.StateActive {
		l.more(1)
	}
}

// reply speaks of all connections up to this one: taken, but for those that were turned down.
func (l *Listener) reply(upto uint64) *item {
	var rejected any
	var numbers []uint64
	for number := l.replied + 1; number <= upto; number++ {
		if l.reject[number] {
			numbers = append(numbers, number)
			delete(l.reject, number)
		}
	}
	if numbers != nil {
		rejected = numbers
	}
	l.replied = upto
	return l.w.s.provoked(proto.KindConnReply, l.channel, encodeFrame([]any{upto, rejected}, nil))
}

// more gives the primary credit for n more connections, and says how many are closed.
func (l *Listener) more(n int) {
	if l.mode != "handoff" || l.err != nil {
		return
	}
	l.credit += n
	var dropped any
	if l.dropped > 0 {
		dropped = l.dropped
	}
	l.w.s.say(proto.KindConnCredit, l.channel, []any{n, l.closed, dropped}, nil)
}

// rejectWaiting gives everything back that nobody has taken (AWP-ST-1).
func (l *Listener) rejectWaiting() {
	if len(l.waiting) == 0 {
		return
	}
	for _, c := range l.waiting {
		c.handle.Close()
		l.turnDown(c.number)
	}
	l.waiting = nil
	l.reply(l.next - 1)
}

// end is the end of the listener. What waits is closed: the primary has a copy still.
func (l *Listener) end(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	for _, c := range l.waiting {
		c.handle.Close()
	}
	l.waiting = nil
	if l.inner != nil {
		l.inner.Close()
	}
	if l.packets != nil {
		l.packets.Close()
	}
	if !l.isUp {
		close(l.settled)
	}
	close(l.ended)
}

// Mode is "handoff" or "shared".
func (l *Listener) Mode() string { return l.mode }

// PacketConn is the socket of a UDP port, and nil for others. Closing the listener closes it.
func (l *Listener) PacketConn() net.PacketConn { return l.packets }

// Address is where the port is bound, as LISTENING has it.
func (l *Listener) Address() any { return l.address }

// Addr is where the port is bound.
func (l *Listener) Addr() net.Addr { return addrOf(l.address) }

func addrOf(address any) net.Addr {
	switch address := address.(type) {
	case string:
		return &net.UnixAddr{Name: address, Net: "unix"}
	case []any:
		host, _ := at(address, 0).(string)
		port, _ := asUint(at(address, 1))
		return &net.TCPAddr{IP: net.ParseIP(host), Port: int(port)}
	}
	return &net.TCPAddr{}
}

// Accept waits for a connection and takes it. Nobody else will serve it then. Once the listener is
// closed, or the worker told to stop, the error is [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	if l.inner != nil {
		conn, err := l.inner.Accept()
		if err != nil {
			return nil, l.failed(err)
		}
		return newConn(conn, nil), nil
	}
	for {
		conn, it := l.take()
		if conn == nil {
			select {
			case <-l.changed:
				continue
			case <-l.ended:
				return nil, l.failed(net.ErrClosed)
			}
		}
		select { // before it is touched, the primary has to be told (AWP-LI-2)
		case <-it:
		case <-l.w.done:
			conn.handle.Close()
			return nil, l.failed(net.ErrClosed)
		}
		inner, err := conn.handle.Conn()
		if err != nil { // it was a socket a moment ago: out of descriptors, most likely
			l.release(1)
			continue
		}
		made := inner.(*Conn)
		made.closed = func() { l.release(0) }
		return made, nil
	}
}

// take takes the oldest connection that waits; the channel is closed when CONN_REPLY is written.
func (l *Listener) take() (*waitingConn, <-chan struct{}) {
	l.w.lock()
	defer l.w.unlock()
	if len(l.waiting) == 0 || l.err != nil || l.w.s.state != proto.StateActive {
		return nil, nil
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	if len(l.waiting) > 0 {
		l.wake() // several may wait in Accept
	}
	written := make(chan struct{})
	upto := c.number
	if len(l.waiting) == 0 {
		upto = l.next - 1 // those behind it, if any, were turned down
	}
	l.reply(upto).written = func() { close(written) }
	return c, written
}

func (l *Listener) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// release counts a connection as closed, and asks for another.
func (l *Listener) release(unseen uint64) {
	l.w.lock()
	defer l.w.unlock()
	l.closed++
	l.dropped += unseen
	n := 1
	if l.w.s.state != proto.StateActive {
		n = 0
	}
	l.more(n)
}

func (l *Listener) failed(err error) error {
	l.w.lock()
	defer l.w.unlock()
	if l.err == nil || l.err == ErrClosed || l.err == ErrStopping {
		return &net.OpError{Op: "accept", Net: "awp", Addr: addrOf(l.address), Err: err}
	}
	return l.err
}

// Close gives the port up. Connections that were not taken go to other workers.
func (l *Listener) Close() error {
	l.w.lock()
	defer l.w.unlock()
	s := l.w.s
	if s.listeners[l.channel] == l {
		delete(s.listeners, l.channel)
		s.say(proto.KindListenClose, l.channel, nil, nil)
	}
	l.end(ErrClosed)
	return nil
}

// normal gives a value the types that a decoder gives.
func normal(value any) any {
	encoded, _ := msgpack.Append(nil, value, depthOfControl, nil)
	value, _ = msgpack.Decode(encoded, depthOfControl, nil)
	return value
}
