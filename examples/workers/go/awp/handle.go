package awp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// maxGroup is how many descriptors fit into one message of a Unix socket.
const maxGroup = 253

// Kind says what a descriptor is: the Handle constants of section 16.
type Kind = proto.Handle

// The kinds of handles.
const (
	TCPSocket     = proto.HandleTCPSocket
	TCPListener   = proto.HandleTCPListener
	UDPSocket     = proto.HandleUDPSocket
	UnixStream    = proto.HandleUnixStream
	UnixListener  = proto.HandleUnixListener
	UnixDgram     = proto.HandleUnixDgram
	UnixSeqpacket = proto.HandleUnixSeqpacket
	PipeRead      = proto.HandlePipeRead
	PipeWrite     = proto.HandlePipeWrite
	File          = proto.HandleFile
	Memfd         = proto.HandleMemfd
	TTY           = proto.HandleTTY
	Eventfd       = proto.HandleEventfd
	PIDFD         = proto.HandlePIDFD
	Opaque        = proto.HandleOpaque
)

// kinds are those that this package takes.
var kinds = []Kind{
	TCPSocket, TCPListener, UDPSocket, UnixStream, UnixListener, UnixDgram, UnixSeqpacket,
	PipeRead, PipeWrite, File, Memfd, TTY, Eventfd, PIDFD, Opaque,
}

// Handle is an open descriptor with a description. It stands in the body of a message like any
// other value. Whoever has it closes it, or uses it up by Conn, Listener or File, or sends it on.
type Handle struct {
	Kind Kind
	// Meta is the description that travels along: "peer", "local", "name", "shared" and others.
	Meta map[string]any

	mu   sync.Mutex
	file *os.File // nil: used up
}

// NewHandle makes a handle over a duplicate of what a file, connection or listener is made of. The
// original stays the caller's. What a connection from this package has not read of its head goes
// along.
func NewHandle(kind Kind, of syscall.Conn) (*Handle, error) {
	raw, err := of.SyscallConn()
	if err != nil {
		return nil, err
	}
	dup := -1
	var failed error
	if err := raw.Control(func(fd uintptr) { dup, failed = duplicate(int(fd)) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("fcntl", failed)
	}
	if _, isSocket := sockets[kind]; isSocket {
		_ = syscall.SetNonblock(dup, true) // so they travel (AWP-FD-9), and so Go has them
	}
	handle := newHandle(kind, nil, dup)
	if conn, ok := of.(*Conn); ok {
		if head := conn.unread(); len(head) > 0 {
			handle.Meta["head"] = head
		}
	}
	return handle, nil
}

func duplicate(fd int) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// newHandle takes the descriptor over. The file closes it, if nobody else does: a handle that is
// forgotten does not leak. A descriptor in non-blocking mode stays so, see os.NewFile.
func newHandle(kind Kind, meta map[string]any, fd int) *Handle {
	if meta == nil {
		meta = map[string]any{}
	}
	return &Handle{Kind: kind, Meta: meta, file: os.NewFile(uintptr(fd), "handle "+kind.String())}
}

// File gives the descriptor to the caller.
func (h *Handle) File() (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil, fmt.Errorf("awp: handle: %w", os.ErrClosed)
	}
	file := h.file
	h.file = nil
	return file, nil
}

// Conn gives the connection to the caller. What its sender had read of it comes first.
func (h *Handle) Conn() (net.Conn, error) {
	file, err := h.File()
	if err != nil {
		return nil, err
	}
	defer file.Close() // net takes a duplicate
	inner, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return newConn(inner, h.head()), nil
}

// Listener gives the listening socket to the caller.
func (h *Handle) Listener() (net.Listener, error) {
	file, err := h.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the path is the primary's
	}
	return listener, err
}

// PacketConn gives the datagram socket to the caller.
func (h *Handle) PacketConn() (net.PacketConn, error) {
	file, err := h.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FilePacketConn(file)
}

// Close closes the descriptor, if nobody has taken it.
func (h *Handle) Close() error {
	file, err := h.File()
	if err != nil {
		return nil
	}
	return file.Close()
}

// Stat describes the descriptor as fstat(2) does.
func (h *Handle) Stat() (os.FileInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil, fmt.Errorf("awp: handle: %w", os.ErrClosed)
	}
	return h.file.Stat()
}

func (h *Handle) head() []byte {
	head, _ := h.Meta["head"].([]byte)
	return head
}

// fd is File for a sender, which needs the number and must not disturb the mode.
func (h *Handle) fd() (int, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return -1, false
	}
	return int(h.file.Fd()), true // a file of os.NewFile in non-blocking mode stays in it
}

func closeAll(handles []*Handle) {
	for _, handle := range handles {
		handle.Close()
	}
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}

// heads counts the bytes that are no part of the envelope's limit (AWP-HA-7).
func heads(handles []*Handle) int {
	n := 0
	for _, handle := range handles {
		n += len(handle.head())
	}
	return n
}

// entries is how handles stand in an envelope.
func entries(handles []*Handle) any {
	if len(handles) == 0 {
		return nil
	}
	list := make([]any, len(handles))
	for i, handle := range handles {
		if len(handle.Meta) == 0 {
			list[i] = []any{uint8(handle.Kind)}
		} else {
			list[i] = []any{uint8(handle.Kind), handle.Meta}
		}
	}
	return list
}

var errMismatch = errors.New("the descriptor is something else")

// sockets says what the socket of a kind is made of.
var sockets = map[Kind]struct {
	inet, listens bool
	kind          int
}{
	TCPSocket:     {true, false, syscall.SOCK_STREAM},
	TCPListener:   {true, true, syscall.SOCK_STREAM},
	UDPSocket:     {true, false, syscall.SOCK_DGRAM},
	UnixStream:    {false, false, syscall.SOCK_STREAM},
	UnixListener:  {false, true, syscall.SOCK_STREAM},
	UnixDgram:     {false, false, syscall.SOCK_DGRAM},
	UnixSeqpacket: {false, false, syscall.SOCK_SEQPACKET},
}

// verifyAll looks whether descriptors are what their entries say (AWP-HA-2).
func verifyAll(handles []*Handle) *Error {
	for _, handle := range handles {
		fd, _ := handle.fd()
		if err := verify(handle.Kind, fd); err != nil {
			return failure(proto.ErrorCodeUnsupportedHandle, "%v: %v", handle.Kind, err)
		}
	}
	return nil
}

func verify(kind Kind, fd int) error {
	if _, ok := sockets[kind]; ok {
		return verifySocket(kind, fd)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return err
	}
	format := stat.Mode & syscall.S_IFMT
	flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
	access := int(flags) & syscall.O_ACCMODE
	ok := false
	switch kind {
	case Opaque:
		ok = true
	case PipeRead:
		ok = format == syscall.S_IFIFO && access != syscall.O_WRONLY
	case PipeWrite:
		ok = format == syscall.S_IFIFO && access != syscall.O_RDONLY
	case File:
		ok = format == syscall.S_IFREG
	case Memfd:
		const getSeals = 1034
		_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), getSeals, 0)
		ok = format == syscall.S_IFREG && errno == 0
	case TTY:
		var termios syscall.Termios
		_, _, errno := syscall.Syscall(
			syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&termios)))
		ok = errno == 0
	case Eventfd, PIDFD:
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		ok = strings.Contains(link, kind.String())
	}
	if !ok {
		return errMismatch
	}
	return nil
}

func verifySocket(kind Kind, fd int) error {
	want := sockets[kind]
	option := func(name int) int {
		value, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, name)
		if err != nil {
			return -1
		}
		return value
	}
	domain := option(syscall.SO_DOMAIN)
	inet := domain == syscall.AF_INET || domain == syscall.AF_INET6
	switch {
	case want.inet != inet, !inet && domain != syscall.AF_UNIX,
		option(syscall.SO_TYPE) != want.kind,
		(option(syscall.SO_ACCEPTCONN) == 1) != want.listens:
		return errMismatch
	}
	return nil
}

// resolver turns references of a body into the handles of its frame, and checks references to
// actors.
func resolver(handles []*Handle) msgpack.Resolve {
	return func(x msgpack.Ext) (any, error) {
		switch proto.Ext(x.Code) {
		case proto.ExtHandle:
			if len(x.Data) != 1 || int(x.Data[0]) >= len(handles) {
				return nil, fmt.Errorf("%w: a reference to no handle", msgpack.ErrProfile)
			}
			return handles[x.Data[0]], nil
		case proto.ExtRef:
			if _, ok := AddressOf(x); !ok {
				return nil, fmt.Errorf("%w: a reference to no actor", msgpack.ErrProfile)
			}
		}
		return x, nil
	}
}

// encodeBody encodes a value, and takes the handles in it from whoever had them.
func encodeBody(value any, depth int) ([]byte, []*Handle, error) {
	var handles []*Handle
	payload, err := msgpack.Append(nil, value, depth, func(v any) (msgpack.Ext, bool) {
		handle, ok := v.(*Handle)
		if !ok {
			return msgpack.Ext{}, false
		}
		for i, seen := range handles {
			if seen == handle {
				return msgpack.Ext{Code: int8(proto.ExtHandle), Data: []byte{byte(i)}}, true
			}
		}
		handles = append(handles, handle)
		return msgpack.Ext{Code: int8(proto.ExtHandle), Data: []byte{byte(len(handles) - 1)}}, true
	})
	if err != nil {
		closeAll(handles)
		return nil, nil, err
	}
	for i, handle := range handles {
		file, err := handle.File()
		if err != nil {
			closeAll(handles)
			return nil, nil, err
		}
		handles[i] = &Handle{Kind: handle.Kind, Meta: handle.Meta, file: file}
	}
	return payload, handles, nil
}
