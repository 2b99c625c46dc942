// Sdk is an agent that uses guest-sdk/go as its query says: {"do": VERB, …}. Its
// result is what came of it.
package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

type query struct {
	Do    string   `json:"do"`
	Words []string `json:"words"` // paths, or the words of a command
	Text  string   `json:"text"`
	Size  int      `json:"size"`
}

func main() {
	agent.Main(func(r *agent.Request) (any, error) {
		var q query
		if err := r.Decode(&q); err != nil {
			return nil, err
		}
		verb, ok := verbs[q.Do]
		if !ok {
			return nil, fmt.Errorf("no verb %q", q.Do)
		}
		return verb(r, q)
	})
}

var verbs = map[string]func(*agent.Request, query) (any, error){
	"request": func(r *agent.Request, _ query) (any, error) { return r, nil },
	"length":  func(_ *agent.Request, q query) (any, error) { return len(q.Text), nil },

	// Results beside standard output.
	"raw":    func(_ *agent.Request, q query) (any, error) { fmt.Println("noise"); return agent.Raw(q.Text), nil },
	"print":  func(_ *agent.Request, q query) (any, error) { fmt.Print(q.Text); return nil, nil },
	"fail":   func(_ *agent.Request, q query) (any, error) { return "lost", fmt.Errorf("failed: %s", q.Text) },
	"repeat": func(_ *agent.Request, q query) (any, error) { return agent.Raw(strings.Repeat(q.Text, q.Size)), nil },

	"hash": func(_ *agent.Request, q query) (any, error) { return agent.Hash(q.Words[0]) },
	"bytes": func(_ *agent.Request, q query) (any, error) {
		return agent.HashBytes([]byte(strings.Repeat(q.Text, q.Size)))
	},
	"many":  many,
	"log":   logs,
	"info":  func(*agent.Request, query) (any, error) { return agent.Info() },
	"check": func(_ *agent.Request, q query) (any, error) { return agent.Check(agent.Op(q.Text), q.Words[0]) },
	"may":   func(_ *agent.Request, q query) (any, error) { return agent.CheckExec(q.Words...) },
	"exec": func(_ *agent.Request, q query) (any, error) {
		out, err := agent.Command(q.Words[0], q.Words[1:]...).Output()
		return agent.Raw(out), err
	},
}

// many has goroutines ask the host at once, with answers of all lengths.
func many(r *agent.Request, q query) (any, error) {
	var wait sync.WaitGroup
	sums := make([]string, q.Size)
	for i := range sums {
		wait.Go(func() {
			if i%2 == 0 {
				sums[i], _ = agent.HashBytes([]byte(q.Text))
			} else if h, err := agent.Info(); err == nil {
				sums[i] = fmt.Sprint(h.ABI)
			}
		})
	}
	wait.Wait()
	count := map[string]int{}
	for _, sum := range sums {
		count[sum]++
	}
	return count, nil
}

func logs(*agent.Request, query) (any, error) {
	slog.SetDefault(agent.Logger())
	slog.Debug("looking", "at", "a.md")
	slog.With("part", -1.5).WithGroup("of").Info("half", "whole", []string{"a", "b"})
	slog.Warn("")
	slog.Error("two\nlines", "msg", "own")
	deep := slog.Any("leaf", 1)
	for range 20 {
		deep = slog.Group("g", deep)
	}
	slog.Info("too deep", deep)
	return nil, nil
}
