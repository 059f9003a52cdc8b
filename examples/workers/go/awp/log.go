package awp

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	proto "example.com/actorcluster/internal/awp"
	"example.com/actorcluster/msgpack"
)

// Log sends a record to the primary, which logs it. Levels are 10 for debug, 20 info, 30 warning,
// 40 error, 50 critical. Records below the level that the primary wants are dropped, and so are
// those for which there is no room, because the primary does not read.
func (w *Worker) Log(level int, logger, text string, attributes map[string]any) {
	w.lock()
	defer w.unlock()
	s := w.s
	switch {
	case !s.caps[proto.CapabilityLog], level < s.is.LogLevel:
		return
	case s.out.size > maxQueued: // nobody waits for a log (AWP-LO-2)
		w.unlogged++
		return
	case w.unlogged > 0:
		n := w.unlogged
		w.unlogged = 0
		w.record(30, "awp", fmt.Sprintf("%d log records were dropped: the primary did not read", n), nil)
	}
	w.record(level, logger, text, attributes)
}

func (w *Worker) record(level int, logger, text string, attributes map[string]any) {
	payload := []any{clip(text)}
	if len(attributes) > 0 {
		encoded, err := msgpack.Append(nil, attributes, depthOfControl-1, nil)
		if err == nil && len(encoded) < 4*maxText {
			payload = append(payload, attributes)
		}
	}
	now := float64(time.Now().UnixMicro()) / 1e6
	w.s.send(&item{
		header: header{kind: proto.KindLog, flags: proto.FlagOptional},
		body:   encodeFrame([]any{uint8(level), now, clip(logger)}, payload),
	})
}

// LogHandler makes the primary log what a [slog.Logger] says, under the name of a logger.
func (w *Worker) LogHandler(logger string) slog.Handler {
	return &logHandler{w: w, logger: logger}
}

type logHandler struct {
	w      *Worker
	logger string
	prefix string
	with   []slog.Attr
}

// levelOf turns slog's levels, of which 0 is info and 4 a step, into those of the protocol.
func levelOf(level slog.Level) int { return min(max(20+int(level)*10/4, 0), 255) }

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	h.w.lock()
	defer h.w.unlock()
	return levelOf(level) >= h.w.s.is.LogLevel
}

func (h *logHandler) Handle(_ context.Context, record slog.Record) error {
	attributes := map[string]any{}
	for _, attr := range h.with {
		put(attributes, "", attr)
	}
	record.Attrs(func(attr slog.Attr) bool {
		put(attributes, h.prefix, attr)
		return true
	})
	h.w.Log(levelOf(record.Level), h.logger, record.Message, attributes)
	return nil
}

// put adds an attribute in a form that msgpack has.
func put(table map[string]any, prefix string, attr slog.Attr) {
	key, value := prefix+attr.Key, attr.Value.Resolve()
	switch value.Kind() {
	case slog.KindGroup:
		for _, inner := range value.Group() {
			put(table, key+".", inner)
		}
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindString, slog.KindTime:
		table[key] = value.Any()
	default:
		table[key] = fmt.Sprint(value.Any())
	}
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.with = append([]slog.Attr{}, h.with...)
	for _, attr := range attrs {
		more.with = append(more.with, slog.Attr{Key: h.prefix + attr.Key, Value: attr.Value})
	}
	return &more
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	more := *h
	if name != "" {
		more.prefix += name + "."
	}
	return &more
}
