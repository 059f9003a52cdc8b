// Package awp is a worker's side of AWP 1.0, the protocol between a primary and its workers: it
// takes and sends messages, calls and open descriptors, and serves ports that workers share.
//
// [Main] runs a program as a worker; what it needs is in [Worker]. Everything may be used from
// several goroutines. Three goroutines belong to a worker, and end with it: one reads the
// connection and is never kept waiting by anybody, one writes, and short-lived timers send what
// gathers. All that they know is in session, which does no input or output itself.
package awp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	proto "example.com/actorcluster/internal/awp"
)

// Config says how a worker presents itself, and whom it tells what.
type Config struct {
	// Name and Version are of the program, for display.
	Name, Version string
	// Limits are what this worker can receive; what the primary's user says goes before.
	Limits Limits
	// Settings is called when the primary changes settings, with those that it names. It must not
	// block.
	Settings func(map[string]any)
	// Undeliverable is called for messages that found nobody. It must not block.
	Undeliverable func(Undeliverable)
}

// Worker is the connection to the primary.
type Worker struct {
	config Config
	conn   *net.UnixConn
	exit   func(int)
	group  sync.WaitGroup

	mu       sync.Mutex
	room     sync.Cond // something was written, or acknowledged, or has ended
	s        *session
	mailbox  []*Message
	shut     bool // the mailbox takes nothing any more
	ticking  bool // flush will be called
	unlogged int  // records that were dropped
	timers   []*time.Timer
	hard     time.Time // when STOP's patience ends; zero: never

	writable chan struct{} // has an element when there is something to write
	arrived  chan struct{} // has an element when there may be something to receive
	ready    chan struct{} // closed by WELCOME
	stopping chan struct{} // closed by STOP, or GOODBYE
	done     chan struct{} // closed when the connection has ended
	ctx      context.Context
	cancel   context.CancelCauseFunc
}

// tick is for how long credit and acknowledgements may gather.
const tick = 20 * time.Millisecond

// Connect finds the connection to the primary in the environment, and introduces the worker. Then
// it is to call Ready, and in the end Close.
func Connect(ctx context.Context, config Config) (*Worker, error) {
	channel, isWorker := os.LookupEnv("ACTORCLUSTER_CHANNEL")
	who := identity{token: os.Getenv("ACTORCLUSTER_TOKEN")}
	who.worker, _ = strconv.ParseUint(os.Getenv("ACTORCLUSTER_WORKER_ID"), 10, 32)
	config.Limits.parse(os.Getenv("ACTORCLUSTER_LIMITS"))
	lane := os.Getenv("ACTORCLUSTER_LANE")
	for _, name := range []string{"CHANNEL", "WORKER_ID", "LIMITS", "TOKEN", "LANE"} {
		os.Unsetenv("ACTORCLUSTER_" + name) // nobody else's business (AWP-TR-2)
	}
	if !isWorker {
		return nil, ErrNotWorker
	}
	if lane != "" {
		return nil, fmt.Errorf("awp: %w: handles would come by a lane of form %s", errChannel, lane)
	}
	conn, err := open(channel)
	if err != nil {
		return nil, fmt.Errorf("awp: %w: %s: %v", errChannel, channel, err)
	}
	return start(ctx, config, conn, who, os.Exit)
}

// identity is what the environment says that this worker is.
type identity struct {
	worker uint64
	token  string
}

// open opens `fd:N` or `unix:/path` (section 2).
func open(channel string) (*net.UnixConn, error) {
	if path, ok := strings.CutPrefix(channel, "unix:"); ok {
		return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	}
	digits, ok := strings.CutPrefix(channel, "fd:")
	fd, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return nil, errors.New("neither fd:N nor unix:/path")
	}
	file := os.NewFile(uintptr(fd), channel)
	defer file.Close() // net takes a duplicate, which is closed on exec
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("not a Unix socket")
	}
	return unix, nil
}

func start(ctx context.Context, config Config, conn *net.UnixConn, who identity, exit func(int)) (*Worker, error) {
	w := &Worker{
		config: config, conn: conn, exit: exit,
		writable: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
		ready: make(chan struct{}), stopping: make(chan struct{}), done: make(chan struct{}),
	}
	w.room.L = &w.mu
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	w.s = newSession(w, config.Limits)
	w.lock()
	w.s.hello(who, os.Getpid(), map[string]any{
		"name": config.Name, "version": config.Version,
		"lang": "go", "runtime": runtime.Version(), "os": runtime.GOOS,
	})
	w.unlock()
	w.group.Add(2)
	go w.read()
	go w.write()
	select {
	case <-w.ready:
		return w, nil
	case <-w.done:
	case <-ctx.Done():
		w.lock()
		w.s.close(ctx.Err())
		w.unlock()
	}
	w.group.Wait()
	return nil, w.Err()
}

// lock and unlock guard the session. Whatever was done to it, unlock sees to what it left to do.
func (w *Worker) lock() { w.mu.Lock() }

func (w *Worker) unlock() {
	if !w.s.out.empty() || w.s.state >= proto.StateClosing {
		select {
		case w.writable <- struct{}{}:
		default:
		}
	}
	if w.s.gathered() && !w.ticking && w.s.ended == nil {
		w.ticking = true
		time.AfterFunc(tick, w.flush)
	}
	w.mu.Unlock()
}

func (w *Worker) flush() {
	w.lock()
	defer w.unlock()
	w.ticking = false
	w.s.flush()
}

// read takes in what comes until the connection ends.
func (w *Worker) read() {
	defer w.group.Done()
	bytes := make([]byte, 64<<10)
	beside := make([]byte, syscall.CmsgSpace(4*maxGroup))
	for {
		n, m, flags, _, err := w.conn.ReadMsgUnix(bytes, beside)
		fds := rights(beside[:m])
		w.lock()
		if n > 0 || len(fds) > 0 {
			w.s.receive(bytes[:n], fds, flags&syscall.MSG_CTRUNC != 0)
		}
		if err != nil { // an end that is not orderly is an end all the same (AWP-TR-6)
			w.s.eof()
			if w.s.ended == nil {
				w.s.close(ErrLost)
			}
		}
		w.room.Broadcast()
		over := w.s.ended != nil
		w.unlock()
		if over {
			return
		}
	}
}

// rights are the descriptors in the control messages, close-on-exec since they arrived.
func rights(beside []byte) []int {
	if len(beside) == 0 {
		return nil
	}
	messages, err := syscall.ParseSocketControlMessage(beside)
	if err != nil {
		return nil
	}
	var all []int
	for i := range messages {
		if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil {
			all = append(all, fds...)
		}
	}
	return all
}

// write sends what the session has to say, and closes the connection in the end.
func (w *Worker) write() {
	defer w.group.Done()
	defer w.conn.Close()
	var buffer []byte
	broken, half := false, false
	for range w.writable {
		for {
			w.lock()
			b := w.s.out.next(buffer, w.s.peer.MaxFrame)
			var leaving *departure
			if len(b.handles) > 0 {
				leaving = w.s.departed.add(b.handles, w.s.caps[proto.CapabilityHandleAck])
			}
			isClosing, isOver := w.s.state == proto.StateClosing, w.s.ended != nil
			w.mu.Unlock()
			if len(b.bytes) > 0 && !broken {
				broken = w.push(b) != nil // the end of file comes behind what can still be read
			}
			w.finish(b, leaving)
			buffer = b.bytes
			if len(b.bytes) > 0 {
				continue
			}
			if isOver {
				return
			}
			if isClosing && !half {
				half = true
				_ = w.conn.CloseWrite()
			}
			break
		}
	}
}

// push writes a batch. The descriptors go with its first bytes, and never again (AWP-FD-2).
func (w *Worker) push(b batch) error {
	var beside []byte
	if len(b.handles) > 0 {
		fds := make([]int, len(b.handles))
		for i, handle := range b.handles {
			fds[i], _ = handle.fd()
		}
		beside = syscall.UnixRights(fds...)
	}
	for rest := b.bytes; len(rest) > 0; {
		n, _, err := w.conn.WriteMsgUnix(rest, beside, nil)
		if errors.Is(err, syscall.ETOOMANYREFS) { // others have too many in flight (AWP-FD-8)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		rest, beside = rest[n:], nil
	}
	return nil
}

func (w *Worker) finish(b batch, leaving *departure) {
	w.lock()
	defer w.mu.Unlock()
	if leaving != nil {
		leaving.sent(w.s.caps[proto.CapabilityHandleAck] && w.s.ended == nil)
	}
	for _, written := range b.written {
		written()
	}
	w.room.Broadcast()
}

// ---- what the session tells ----

func (w *Worker) welcomed() { close(w.ready) }

func (w *Worker) configured(settings map[string]any) {
	if w.config.Settings != nil {
		w.config.Settings(settings)
	}
}

// stop is STOP: what was not begun goes back, and what is begun has so long.
func (w *Worker) stop(within time.Duration, limited bool, _ Reason) {
	for channel, l := range w.s.listeners {
		l.rejectWaiting()
		delete(w.s.listeners, channel)
		w.s.say(proto.KindListenClose, channel, nil, nil)
		l.end(ErrStopping)
	}
	select {
	case <-w.stopping:
	default:
		close(w.stopping)
	}
	w.signal()
	if limited {
		// A fifth of the time is for what comes when patience ends.
		hard := time.Now().Add(within - min(within/5, time.Second))
		if w.hard.IsZero() || hard.Before(w.hard) {
			w.hard = hard
			w.after(until(hard), func() {
				w.cancel(ErrStopping)
				w.after(min(within/10, time.Second/2), w.force)
			})
		}
	}
}

// after runs something later, unless the worker has ended by then.
func (w *Worker) after(d time.Duration, do func()) {
	w.timers = append(w.timers, time.AfterFunc(d, func() {
		w.lock()
		defer w.unlock()
		if w.s.ended == nil {
			do()
		}
	}))
}

// force says good-bye for a program that does not.
func (w *Worker) force() {
	w.abandon()
	w.s.goodbye(proto.ReasonNormal)
}

// abandon answers all that is open. That a call was not begun may be said of those in the mailbox
// alone: somebody else may do what they ask for.
func (w *Worker) abandon() {
	w.shut = true
	for _, m := range w.mailbox {
		closeAll(m.Handles)
		w.s.release(m.cost)
		w.s.fail(m, failure(proto.ErrorCodeStopping, "the worker is stopping"))
		m.end(ErrStopping)
	}
	w.mailbox = nil
	for _, m := range w.s.calls {
		w.s.fail(m, failure(proto.ErrorCodeNotHandled, "the worker is stopping, and was not done"))
		m.end(ErrStopping)
	}
}

func (w *Worker) message(m *Message) *Error {
	own := uint64(w.s.is.ID) << 32
	if m.to.Name != "" && m.to.Name != w.s.is.Name || m.to.ID != 0 && m.to.ID != own {
		return failure(proto.ErrorCodeNoSuchActor, "nobody here is %v", m.to)
	}
	if w.shut {
		return failure(proto.ErrorCodeStopping, "the worker is stopping")
	}
	m.w = w
	w.mailbox = append(w.mailbox, m)
	w.signal()
	return nil
}

// cancelled tells whoever has the call; one that nobody has begun is answered at once.
func (w *Worker) cancelled(m *Message) {
	for i, other := range w.mailbox {
		if other == m {
			w.mailbox = append(w.mailbox[:i], w.mailbox[i+1:]...)
			closeAll(m.Handles)
			w.s.release(m.cost)
			w.s.fail(m, ErrCancelled)
			break
		}
	}
	m.cancel(ErrCancelled)
}

func (w *Worker) undeliverable(u Undeliverable) {
	if w.config.Undeliverable != nil {
		w.config.Undeliverable(u)
	}
}

func (w *Worker) listening(*Listener) {}

func (w *Worker) connections(l *Listener) { l.wake() }

// closed is the end of the connection. Where the primary is gone or has given up, the process has
// to be gone soon too, whatever it is doing (AWP-ST-3).
func (w *Worker) closed(err error) {
	for _, m := range w.mailbox {
		closeAll(m.Handles)
	}
	w.mailbox = nil
	for _, timer := range w.timers {
		timer.Stop()
	}
	w.cancel(err)
	close(w.done)
	w.room.Broadcast()
	_ = w.conn.SetReadDeadline(time.Now()) // so that nobody waits for more
	// Only an ABORT can be left to be written, and nobody has to read it.
	_ = w.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if !errors.Is(err, ErrClosed) {
		time.AfterFunc(time.Second, func() { w.exit(Status(err)) })
	}
}
