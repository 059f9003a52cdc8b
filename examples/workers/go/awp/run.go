package awp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	proto "example.com/actorcluster/internal/awp"
)

// Main runs a function as a worker and ends the process, with the status that the primary expects:
// 0 after a good end, and when the primary is gone; 2 when nobody has started this as a worker.
func Main(config Config, run func(ctx context.Context, w *Worker) error) {
	// A Ctrl-C at the terminal reaches everybody there; what it means is for the primary to say. It
	// has blocked the signal, which is not how Go programs know it.
	signal.Ignore(os.Interrupt)
	err := Run(context.Background(), config, run)
	if status := Status(err); status != 0 {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(status)
	}
}

// Status is the exit status after an error of [Run].
func Status(err error) int {
	switch {
	case err == nil, errors.Is(err, ErrLost), errors.Is(err, ErrStopping), errors.Is(err, ErrClosed):
		return 0
	case errors.Is(err, ErrNotWorker), errors.Is(err, errChannel):
		return 2
	}
	return 1
}

// Run connects, calls itself ready, and runs a function. Its context ends when the time to drain
// is almost over, and when the connection ends; [Worker.Stopping] says when to begin. When the
// function returns the worker leaves: with an error at once, otherwise when it is told to stop.
func Run(ctx context.Context, config Config, run func(ctx context.Context, w *Worker) error) error {
	w, err := Connect(ctx, config)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { w.cancel(ctx.Err()) })
	defer stop()
	if err = w.Ready(nil); err == nil {
		err = run(w.ctx, w) // a panic ends the process: no good-bye
	}
	failed := err != nil && !errors.Is(err, ErrStopping)
	if failed {
		w.explain(err)
	} else {
		w.leave(proto.ReasonNormal)
	}
	if lost := w.Close(); lost != nil {
		return lost
	}
	if failed {
		return err
	}
	return nil
}

// Ready says that the worker is up: from now on it is sent messages and connections.
func (w *Worker) Ready(info map[string]any) error {
	table := map[string]any{}
	if info != nil {
		table[proto.KeyReadyInfo] = info
	}
	return w.tellPrimary(proto.KindReady, table)
}

// Serving says that the application calls itself ready.
func (w *Worker) Serving(info map[string]any) error {
	table := map[string]any{}
	if info != nil {
		table[proto.KeyServingInfo] = info
	}
	return w.tellPrimary(proto.KindServing, table)
}

// Leave asks the primary to be told to stop.
func (w *Worker) Leave(reason Reason) error {
	return w.tellPrimary(proto.KindLeave, map[string]any{proto.KeyLeaveReason: uint8(reason)})
}

// Announce changes what this worker can receive.
func (w *Worker) Announce(limits Limits) error {
	w.lock()
	defer w.unlock()
	if !w.s.announce(limits) {
		return ErrStopping
	}
	return nil
}

func (w *Worker) tellPrimary(kind proto.Kind, table map[string]any) error {
	w.lock()
	defer w.unlock()
	if !w.s.say(kind, 0, nil, table) {
		if w.s.ended != nil {
			return w.s.ended
		}
		return ErrStopping
	}
	return nil
}

// explain says why the worker is about to end.
func (w *Worker) explain(err error) {
	w.lock()
	defer w.unlock()
	w.s.say(proto.KindExitInfo, 0, nil, asError(err).table())
}

// leave asks to be told to stop and waits for it, so that no connection is handed over in vain.
func (w *Worker) leave(reason Reason) {
	if w.Leave(reason) != nil {
		return
	}
	select {
	case <-w.stopping:
	case <-w.done:
	case <-time.After(patience):
	}
}

// patience is for how long a primary is waited for.
const patience = 5 * time.Second

// Close answers what is open, sends what was promised, says good-bye, and waits until the connection
// has ended. A primary that does not read, or does not end it, has five seconds: then the connection
// is closed, whatever has not been sent. Nothing of the worker's is left then.
func (w *Worker) Close() error {
	w.lock()
	for channel, l := range w.s.listeners {
		delete(w.s.listeners, channel) // this gives back what waits
		w.s.say(proto.KindListenClose, channel, nil, nil)
		l.end(ErrClosed)
	}
	w.abandon()
	w.after(patience, func() { w.s.close(ErrClosed) })
	for w.s.ended == nil && w.s.state < proto.StateClosing && !w.s.out.empty() {
		w.room.Wait() // what has been promised is sent first
	}
	w.s.goodbye(proto.ReasonNormal)
	w.unlock()
	<-w.done
	w.group.Wait()
	if err := w.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Stopping is closed when the primary has told the worker to stop.
func (w *Worker) Stopping() <-chan struct{} { return w.stopping }

// Done is closed when the connection has ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Err is why the connection has ended, [ErrClosed] if in good order; nil while it lives.
func (w *Worker) Err() error {
	w.lock()
	defer w.unlock()
	return w.s.ended
}

// Welcome is what the primary said of this worker, and what it has said since.
func (w *Worker) Welcome() Welcome {
	w.lock()
	defer w.unlock()
	return w.s.is
}
