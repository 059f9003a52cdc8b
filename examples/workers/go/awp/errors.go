package awp

import (
	"context"
	"errors"
	"fmt"

	proto "example.com/actorcluster/internal/awp"
)

var (
	// ErrNotWorker says that nobody has started this program as a worker.
	ErrNotWorker = errors.New("awp: no ACTORCLUSTER_CHANNEL: not started as a worker")
	// ErrLost says that the primary has gone without a word.
	ErrLost = errors.New("awp: the primary is gone")
	// ErrStopping says that the worker was told to stop, and that nothing more will come.
	ErrStopping = errors.New("awp: told to stop")
	// ErrClosed says that the connection is closed, in good order.
	ErrClosed = errors.New("awp: the connection is closed")

	errChannel = errors.New("ACTORCLUSTER_CHANNEL is of no use")
)

// Code says what went wrong with a message, for programs.
type Code = proto.ErrorCode

// Error is the failure of a call, of a listener, or of a message (section 12). A handler that
// gives one to [Message.Fail] chooses the code itself.
type Error struct {
	Code    Code
	Message string
	Data    any
	// Type names the failure in the language of the peer. It is for people.
	Type string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return "awp: " + string(e.Code)
	}
	return fmt.Sprintf("awp: %s: %s", e.Code, e.Message)
}

// Is makes errors.Is(err, &Error{Code: ...}) compare codes.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

func failure(code Code, format string, arguments ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// asError gives any error the form in which it travels.
func asError(err error) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, ErrStopping):
		return failure(proto.ErrorCodeStopping, "%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return failure(proto.ErrorCodeDeadlineExceeded, "%v", err)
	}
	return &Error{Code: proto.ErrorCodeApp, Message: err.Error(), Type: fmt.Sprintf("%T", err)}
}

// maxText bounds texts for people: an ERROR has to fit into one frame (section 13).
const maxText = 4096

func (e *Error) table() map[string]any {
	table := map[string]any{"code": string(e.Code)}
	if e.Message != "" {
		table["message"] = clip(e.Message)
	}
	if e.Data != nil {
		table["data"] = e.Data
	}
	if e.Type != "" {
		table["remote"] = map[string]any{"type": clip(e.Type), "lang": "go"}
	}
	return table
}

// parseError reads an error map; what is not one is a failure too.
func parseError(value any) *Error {
	table, _ := value.(map[string]any)
	code, ok := table["code"].(string)
	if !ok {
		return failure(proto.ErrorCodeBadPayload, "an ERROR without a code")
	}
	e := &Error{Code: Code(code), Data: table["data"]}
	e.Message, _ = table["message"].(string)
	if remote, ok := table["remote"].(map[string]any); ok {
		e.Type, _ = remote["type"].(string)
	}
	return e
}

// Aborted is why a connection was given up, by either side.
type Aborted struct {
	Code   proto.Abort
	Detail string
	// Here says that it was this side that gave up.
	Here bool
}

func (a *Aborted) Error() string {
	who := "the primary"
	if a.Here {
		who = "the worker"
	}
	return fmt.Sprintf("awp: %s gave the connection up: %v: %s", who, a.Code, a.Detail)
}

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	cut := maxText
	for cut > 0 && text[cut]&0xc0 == 0x80 { // not inside a character
		cut--
	}
	return text[:cut]
}
