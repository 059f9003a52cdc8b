// Conformance is the actor of annex A of the specification: it does what a test kit tells it to.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/actorcluster/awp"
)

func main() {
	awp.Main(awp.Config{Name: "conformance"}, func(ctx context.Context, w *awp.Worker) error {
		a := &actor{w: w}
		defer a.rest.Wait()
		return a.run(ctx)
	})
}

type actor struct {
	w         *awp.Worker
	rest      sync.WaitGroup // sleeps and servers
	cancelled atomic.Int64
	listeners []*awp.Listener
}

// errNoCommand is for what the annex does not have.
var errNoCommand = &awp.Error{Code: "not_handled", Message: "no such command"}

func (a *actor) run(ctx context.Context) error {
	for {
		m, err := a.w.Receive(ctx)
		if err != nil {
			return err
		}
		name, argument := command(m.Body)
		if name == "sleep" {
			a.rest.Add(1)
			go a.sleep(m, argument)
			continue
		}
		result, err := a.do(name, argument, m)
		switch {
		case err == nil:
			_ = m.Reply(result) // a caller that is gone has its reasons
		case !errors.Is(err, awp.ErrStopping): // which would say that nothing was begun
			m.Fail(err)
		}
		m.Close()
	}
}

func command(body any) (name string, argument any) {
	list, _ := body.([]any)
	if len(list) > 0 {
		name, _ = list[0].(string)
	}
	if len(list) > 1 {
		argument = list[1]
	}
	return name, argument
}

func (a *actor) do(name string, argument any, m *awp.Message) (any, error) {
	switch name {
	case "echo":
		return argument, nil
	case "fail":
		text, _ := argument.(string)
		return nil, &awp.Error{Code: "app", Message: text}
	case "cancel_state":
		return a.cancelled.Load(), nil
	case "tell_back":
		return a.tellBack(m.Context(), argument)
	case "log":
		list, _ := argument.([]any)
		if len(list) != 2 {
			return nil, errNoCommand
		}
		text, _ := list[1].(string)
		a.w.Log(int(number(list[0])), "conformance", text, nil)
		return nil, nil
	case "crash":
		debug.SetTraceback("crash") // or else Go turns the signal into exit status 2
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
		select {}
	case "exit":
		os.Exit(int(number(argument)))
	case "take_handle":
		return taken(m.Handles)
	case "give_handle":
		return given(int(number(argument)))
	case "listen":
		return a.listen(m.Context(), argument)
	case "unlisten":
		n := len(a.listeners)
		for _, l := range a.listeners {
			l.Close()
		}
		a.listeners = nil
		return n, nil
	}
	return nil, errNoCommand
}

func number(value any) float64 {
	switch value := value.(type) {
	case int64:
		return float64(value)
	case float64:
		return value
	}
	return 0
}

// sleep waits, and is ended by whatever ends the call.
func (a *actor) sleep(m *awp.Message, argument any) {
	defer a.rest.Done()
	defer m.Close()
	timer := time.NewTimer(time.Duration(number(argument) * float64(time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		_ = m.Reply(nil)
	case <-a.w.Stopping():
		m.Fail(awp.ErrStopping)
	case <-m.Context().Done():
		why := context.Cause(m.Context())
		if errors.Is(why, awp.ErrCancelled) {
			a.cancelled.Add(1)
		}
		m.Fail(why)
	}
}

func (a *actor) tellBack(ctx context.Context, argument any) (any, error) {
	list, _ := argument.([]any)
	if len(list) != 2 {
		return nil, errNoCommand
	}
	n := int64(number(list[0]))
	for i := int64(1); i <= n; i++ {
		if err := a.w.Tell(ctx, awp.Primary, []any{i, list[1]}); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func taken(handles []*awp.Handle) (any, error) {
	list := []any{}
	for _, handle := range handles {
		info, err := handle.Stat()
		if err != nil {
			return nil, err
		}
		list = append(list, []any{uint8(handle.Kind), info.Sys().(*syscall.Stat_t).Ino})
	}
	return list, nil
}

func given(n int) (any, error) {
	list := []any{}
	for range n {
		handle, err := listening()
		if err != nil {
			return nil, err
		}
		list = append(list, handle)
	}
	return list, nil
}

func listening() (*awp.Handle, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return awp.NewHandle(awp.TCPListener, l.(*net.TCPListener))
}

func (a *actor) listen(ctx context.Context, argument any) (any, error) {
	request, ok := argument.(map[string]any)
	if !ok {
		return nil, errNoCommand
	}
	l, err := a.w.ListenRaw(ctx, request)
	if err != nil {
		return nil, err
	}
	a.listeners = append(a.listeners, l)
	a.rest.Add(1)
	go a.serve(l)
	return l.Address(), nil
}

// serve takes connections as they come.
func (a *actor) serve(l *awp.Listener) {
	defer a.rest.Done()
	id := strconv.Itoa(int(a.w.Welcome().ID))
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		a.rest.Add(1)
		go a.talk(conn, id)
	}
}

// grace is for how long connections are served after STOP.
const grace = 500 * time.Millisecond

func (a *actor) talk(conn net.Conn, id string) {
	defer a.rest.Done()
	defer conn.Close()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-a.w.Stopping():
			_ = conn.SetDeadline(time.Now().Add(grace))
		case <-a.w.Done():
			conn.Close()
		case <-over:
		}
	}()
	if _, err := fmt.Fprintln(conn, id); err == nil {
		_, _ = io.Copy(conn, conn)
	}
}
