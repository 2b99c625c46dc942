package agent

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"os"
)

// Logger returns a logger to the host, which shows its records with the agent's
// other messages to people. They are no part of the result. Every level is
// logged, as debug, info, warn or error, and no time: the host knows it. To have
// all of slog and log go there:
//
//	slog.SetDefault(agent.Logger())
func Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(logWriter{}, &slog.HandlerOptions{Level: slog.Level(math.MinInt)}))
}

// A logWriter makes messages to the host of what slog.JSONHandler writes: a line
// with time and level, the message under slog.MessageKey, and then the fields.
type logWriter struct{}

func (logWriter) Write(line []byte) (int, error) {
	r, err := readLog(line)
	if err == nil {
		_, err = call(opLog, "", r, nil, &head{})
	}
	if err != nil { // such as fields that are nested too deep; slog would drop the record
		return os.Stderr.Write(line)
	}
	return len(line), nil
}

type logRecord struct {
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Fields  json.RawMessage `json:"fields,omitempty"`
}

func readLog(line []byte) (r logRecord, err error) {
	var level slog.Level
	dec := json.NewDecoder(bytes.NewReader(line))
	_, err = dec.Token() // the brace
	for key := any(nil); err == nil && key != slog.MessageKey; {
		if key, err = dec.Token(); err != nil {
			break
		}
		value := any(new(string))
		switch key {
		case slog.LevelKey:
			value = &level
		case slog.MessageKey:
			value = &r.Message
		}
		err = dec.Decode(value)
	}
	if r.Message == "" {
		r.Message = "-" // the host takes none without
	}
	switch {
	case level < slog.LevelInfo:
		r.Level = "debug"
	case level < slog.LevelWarn:
		r.Level = "info"
	case level < slog.LevelError:
		r.Level = "warn"
	default:
		r.Level = "error"
	}
	if fields, some := bytes.CutPrefix(line[dec.InputOffset():], []byte{','}); some {
		r.Fields = append([]byte{'{'}, bytes.TrimSuffix(fields, []byte{'\n'})...)
	}
	return r, err
}
