// Serve_http is a web server: net/http on a port that workers share, as a worker of a primary, or by
// itself where there is none.
//
// It answers four calls: "count" with the number of requests; "log" with its access log, as a
// handle; ["echo", value] with the value; and a message that brings a connection makes it serve that
// one too. Told to stop, it ends the requests that are under way, and takes no others.
//
// With ACCESS_LOG in the environment its log is appended to that file, a line for each request
// before anything else is done, by one write. MAX_CONNECTIONS may be open at once, 256 without.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/actorcluster/awp"
)

func main() {
	port := flag.Int("port", 8000, "of 127.0.0.1; 0 is any free one, the same for all workers")
	shared := flag.Bool("shared", false, "accept here, instead of the primary")
	flag.Parse()
	config := awp.ListenConfig{Network: "tcp", Host: "127.0.0.1", Port: *port, Shared: *shared, Open: 256}
	if most, err := strconv.Atoi(os.Getenv("MAX_CONNECTIONS")); err == nil {
		config.Open = most
	}
	if os.Getenv("ACTORCLUSTER_CHANNEL") == "" {
		if err := alone(*port); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	awp.Main(awp.Config{Name: "serve_http"}, func(ctx context.Context, w *awp.Worker) error {
		return work(ctx, w, config)
	})
}

// alone is the server without a primary.
func alone(port int) error {
	site, err := newSite("nobody's worker")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	return http.Serve(l, site)
}

// work is the server as a worker.
func work(ctx context.Context, w *awp.Worker, config awp.ListenConfig) error {
	logger := slog.New(w.LogHandler("serve_http"))
	site, err := newSite(w.Welcome().Name)
	if err != nil {
		return err
	}
	defer site.log.Close()
	l, err := w.Listen(ctx, config)
	if err != nil {
		return err
	}
	passed := newPassed(l.Addr())
	server := &http.Server{Handler: site, ErrorLog: slog.NewLogLogger(w.LogHandler("http"), slog.LevelWarn)}
	var serving sync.WaitGroup
	for _, listener := range []net.Listener{l, passed} {
		serving.Add(1)
		go func() {
			defer serving.Done()
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				logger.Error("serving ends", "error", err)
			}
		}()
	}
	if err := w.Tell(ctx, awp.Primary, map[string]any{"serving": l.Addr().String()}); err != nil {
		return err
	}
	if err := w.Serving(nil); err != nil {
		return err
	}
	err = answer(ctx, w, site, passed)
	if !errors.Is(err, awp.ErrStopping) {
		server.Close()
	} else if server.Shutdown(ctx) != nil { // ctx ends when the time to drain is almost over
		server.Close()
	}
	serving.Wait()
	return err
}

// answer takes messages until the worker is told to stop.
func answer(ctx context.Context, w *awp.Worker, site *site, passed *passed) error {
	for {
		m, err := w.Receive(ctx)
		if err != nil {
			return err
		}
		switch {
		case len(m.Handles) > 0 && m.Handles[0].Kind == awp.TCPSocket:
			if conn, err := m.Handles[0].Conn(); err != nil {
				m.Fail(err)
			} else {
				passed.put(conn)
				_ = m.Reply(nil)
			}
		case m.Body == "count":
			_ = m.Reply(site.requests.Load())
		case m.Body == "log":
			if handle, err := awp.NewHandle(awp.File, site.log); err != nil {
				m.Fail(err)
			} else {
				_ = m.Reply(handle)
			}
		}
		if body, ok := m.Body.([]any); ok && len(body) == 2 && body[0] == "echo" {
			_ = m.Reply(body[1])
		}
		m.Close() // answers with not_handled what nobody has answered
	}
}

// site answers requests, counts them, and writes an access log.
type site struct {
	name     string
	requests atomic.Int64
	log      *os.File
}

func newSite(name string) (*site, error) {
	if path := os.Getenv("ACCESS_LOG"); path != "" {
		log, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		return &site{name: name, log: log}, err
	}
	log, err := os.CreateTemp("", "access-*.log")
	if err != nil {
		return nil, err
	}
	return &site{name: name, log: log}, os.Remove(log.Name()) // it lives as long as it is open
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	fmt.Fprintf(s.log, "%s %s %s\n", time.Now().UTC().Format(time.RFC3339), r.Method, r.URL.Path)
	size, _ := io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "hello from %s, process %d, request %d of %d bytes\n", s.name, os.Getpid(), n, size)
}

// passed is a listener for connections that come in messages.
type passed struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPassed(addr net.Addr) *passed {
	return &passed{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (p *passed) put(conn net.Conn) {
	select {
	case p.conns <- conn:
	case <-p.done:
		conn.Close()
	}
}

func (p *passed) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *passed) Addr() net.Addr { return p.addr }

func (p *passed) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}
