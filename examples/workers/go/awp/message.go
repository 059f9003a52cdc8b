package awp

import (
	"context"
	"errors"
	"time"

	proto "example.com/actorcluster/internal/awp"
)

// ErrCancelled is why the context of a call ends whose caller has given up.
var ErrCancelled = &Error{Code: proto.ErrorCodeCancelled, Message: "the caller gave up"}

// Message is what arrived for the main actor: somebody tells something, or calls and waits. Whoever
// has it closes it when done; a call that nobody has answered then is answered for him.
type Message struct {
	// Body holds nil, bool, int64, uint64, float64, string, []byte, []any, map[string]any,
	// time.Time, *Handle and msgpack.Ext.
	Body any
	// Handles are all that came along, also those in Body.
	Handles []*Handle
	// From is whom an answer goes to that is a message of its own.
	From Address
	// Meta is the meta map, see section 11.
	Meta map[string]any

	w       *Worker
	to      Address
	isCall  bool
	channel uint32
	number  uint64
	cost    int
	ctx     context.Context
	cancel  context.CancelCauseFunc
	expiry  context.CancelFunc
}

func newMessage(a *arriving, number uint64, cost int, value any) *Message {
	m := &Message{
		Body: value, Handles: a.handles, From: a.from, Meta: a.meta,
		to: a.to, isCall: a.kind == proto.KindCall, channel: a.channel, number: number, cost: cost,
		expiry: func() {},
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	if left, ok := ttl(a.meta); ok && m.isCall {
		m.ctx, m.expiry = context.WithTimeout(m.ctx, left)
	}
	return m
}

// end ends the message's context.
func (m *Message) end(why error) {
	m.cancel(why)
	m.expiry()
}

// IsCall says whether an answer is waited for.
func (m *Message) IsCall() bool { return m.isCall }

// Context ends when the caller gives up, when its time is over, when the call is answered and when
// the connection ends. [context.Cause] says which.
func (m *Message) Context() context.Context { return m.ctx }

// Reply answers the call; a TELL wants no answer, and gets none. Handles in the body are used up,
// whether it succeeds or not. It waits while the primary does not read.
func (m *Message) Reply(body any) error {
	if !m.isCall {
		return nil
	}
	payload, handles, err := encodeBody(body, m.w.depth())
	if err != nil {
		m.Fail(failure(proto.ErrorCodeInternal, "%v", err))
		return err
	}
	m.w.lock()
	defer m.w.unlock()
	s := m.w.s
	for s.ended == nil && (s.out.size > maxQueued || len(s.out.large) > maxLarge || !s.hasRoom(len(handles))) {
		m.w.room.Wait()
	}
	wrong := s.reply(m, payload, handles)
	m.end(context.Canceled)
	if wrong != nil {
		return wrong
	}
	return nil
}

// What may wait to be written before answers wait too.
const (
	maxQueued = 1 << 20
	maxLarge  = 4
)

// Fail answers the call with an error: an [Error] as it is, others as failures of the application.
// A nil error is none: the answer is nil.
func (m *Message) Fail(err error) {
	if err == nil {
		_ = m.Reply(nil)
		return
	}
	if !m.isCall {
		return
	}
	m.w.lock()
	defer m.w.unlock()
	m.w.s.fail(m, asError(err))
	m.end(err)
}

// Close closes the handles that nobody has taken. A call that was not answered gets the error
// not_handled (AWP-CA-5).
func (m *Message) Close() {
	closeAll(m.Handles)
	if m.isCall {
		m.Fail(failure(proto.ErrorCodeNotHandled, "nobody answers this"))
	}
	m.end(context.Canceled)
}

// Receive takes the next message out of the mailbox. After STOP, and when the mailbox is empty
// then, the error is [ErrStopping].
func (w *Worker) Receive(ctx context.Context) (*Message, error) {
	for {
		m, err := w.take()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-w.arrived:
		case <-w.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (w *Worker) take() (*Message, error) {
	w.lock()
	defer w.unlock()
	for len(w.mailbox) > 0 {
		m := w.mailbox[0]
		w.mailbox[0] = nil
		w.mailbox = w.mailbox[1:]
		w.s.release(m.cost)
		if errors.Is(m.ctx.Err(), context.DeadlineExceeded) {
			w.expire(m)
			continue
		}
		if len(w.mailbox) > 0 {
			w.signal() // for others who receive
		}
		return m, nil
	}
	switch {
	case w.s.ended != nil:
		return nil, w.s.ended
	case w.s.state >= proto.StateStopping && len(w.s.partial) == 0:
		w.signal()
		return nil, ErrStopping
	}
	return nil, nil
}

// expire answers a call that lay in the mailbox for too long.
func (w *Worker) expire(m *Message) {
	closeAll(m.Handles)
	w.s.fail(m, failure(proto.ErrorCodeDeadlineExceeded, "nobody took it in time"))
	m.end(context.DeadlineExceeded)
}

func (w *Worker) signal() {
	select {
	case w.arrived <- struct{}{}:
	default:
	}
}

// Reply is the answer to a call of ours.
type Reply struct {
	Body    any
	Handles []*Handle
}

// Close closes the handles that nobody has taken.
func (r *Reply) Close() { closeAll(r.Handles) }

// Tell sends a message. It waits for credit, not for anybody to read: the mailbox at the other end
// may be full. Handles in the body are used up, whether it succeeds or not.
func (w *Worker) Tell(ctx context.Context, to Address, body any) error {
	m, err := w.prepare(ctx, proto.KindTell, to, body)
	if err != nil {
		return err
	}
	if err := w.submit(ctx, m); err != nil {
		return err
	}
	return nil
}

// Call sends a message and waits for its answer. When ctx ends first the callee is told so.
func (w *Worker) Call(ctx context.Context, to Address, body any) (*Reply, error) {
	m, err := w.prepare(ctx, proto.KindCall, to, body)
	if err != nil {
		return nil, err
	}
	m.call = &pending{done: make(chan struct{})}
	if err := w.submit(ctx, m); err != nil {
		return nil, err
	}
	select {
	case <-m.call.done:
	case <-ctx.Done():
		w.lock()
		defer w.unlock()
		select {
		case <-m.call.done: // just in time
		default:
			w.s.withdraw(m)
			return nil, ctx.Err()
		}
	}
	return m.call.reply, m.call.err
}

func (w *Worker) prepare(ctx context.Context, kind proto.Kind, to Address, body any) (*leaving, error) {
	payload, handles, err := encodeBody(body, w.depth())
	if err != nil {
		return nil, err
	}
	m := &leaving{kind: kind, to: to, payload: payload, handles: handles, begun: make(chan struct{})}
	if deadline, ok := ctx.Deadline(); ok && kind == proto.KindCall {
		m.expires = deadline
	}
	return m, nil
}

// submit waits until the message has its credit.
func (w *Worker) submit(ctx context.Context, m *leaving) error {
	w.lock()
	wrong := w.s.submit(m)
	w.unlock()
	if wrong != nil {
		return wrong
	}
	select {
	case <-m.begun:
	case <-ctx.Done():
		w.lock()
		defer w.unlock()
		select {
		case <-m.begun: // just in time: it is on its way
		default:
			w.s.withdraw(m)
			return ctx.Err()
		}
	}
	if m.err != nil {
		return m.err
	}
	return nil
}

// depth is how deep a body may be that the primary reads.
func (w *Worker) depth() int {
	w.lock()
	defer w.unlock()
	return w.s.peer.MaxDepth
}

// until is how long it takes to a point in time, at least 0.
func until(t time.Time) time.Duration { return max(time.Until(t), 0) }
