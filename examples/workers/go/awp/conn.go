package awp

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// Conn is a connection that came from elsewhere. What its sender had read of it is read first.
type Conn struct {
	net.Conn
	closed func() // called once, when the connection is closed

	mu   sync.Mutex
	head []byte
	once sync.Once
}

func newConn(inner net.Conn, head []byte) *Conn { return &Conn{Conn: inner, head: head} }

// Read reads the head, then from the connection.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		c.mu.Unlock()
		return n, nil
	}
	c.mu.Unlock()
	return c.Conn.Read(b)
}

// ReadFrom lets the kernel copy, where it can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite ends the sending direction.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// SyscallConn is what [NewHandle] makes a duplicate of.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

// Close closes the connection; the primary learns that there is room for another.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
	})
	return err
}

// unread gives away what is left of the head.
func (c *Conn) unread() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := c.head
	c.head = nil
	return head
}
