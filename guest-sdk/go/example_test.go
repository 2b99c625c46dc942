package agent_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

// An agent that counts the words of the files its turn declares. In a program of
// its own, main is
//
//	func main() { agent.Main(count) }
//
// A test of an agent is a test of its function: files are files, and the request
// is a value.
func Example() {
	count := func(r *agent.Request) (any, error) {
		words := map[string]int{}
		for _, input := range r.Inputs {
			text, err := os.ReadFile(input.Path)
			if err != nil {
				return nil, err
			}
			words[filepath.Base(input.Path)] = len(strings.Fields(string(text)))
		}
		return words, nil
	}

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "a.md")
	if err := os.WriteFile(file, []byte("three small words\n"), 0o644); err != nil {
		log.Panic(err)
	}
	result, err := agent.Run(count, &agent.Request{Inputs: []agent.Input{{Path: file}}})
	fmt.Print(string(result), err)
	// Output:
	// {"a.md":3}
	// <nil>
}

func ExampleRequest_Decode() {
	greet := func(r *agent.Request) (any, error) {
		query := struct{ Name string }{Name: "world"} // where the query does not say
		if err := r.Decode(&query); err != nil {
			return nil, err
		}
		return agent.Raw("Hello, " + query.Name + "!\n"), nil
	}

	for _, query := range []string{`null`, `{"name":"Ada"}`, `{"nam":"Ada"}`} {
		result, err := agent.Run(greet, &agent.Request{Query: json.RawMessage(query)})
		if err != nil {
			fmt.Println(err)
		}
		fmt.Print(string(result))
	}
	// Output:
	// Hello, world!
	// Hello, Ada!
	// decode the query: json: unknown field "nam"
}

func ExampleHashBytes() {
	fmt.Println(agent.HashBytes([]byte("hello")))
	// Output: sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 <nil>
}

func ExampleHash() {
	_, err := agent.Hash("docs/missing.md")
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output: true
}

func ExampleCommand() {
	agent.Main(func(*agent.Request) (any, error) {
		output, err := agent.Command("git", "log", "--oneline").Output()
		var exit *agent.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("git: %s", exit.Stderr)
		}
		return agent.Raw(output), err
	})
}

// More output than memory should hold goes to a file, which is read as any is.
func ExampleCmd_stdoutFile() {
	agent.Main(func(*agent.Request) (any, error) {
		cmd := agent.Command("git", "log", "--oneline")
		cmd.StdoutFile = filepath.Join(os.TempDir(), "log")
		if err := cmd.Run(); err != nil {
			return nil, err
		}
		log, err := os.Open(cmd.StdoutFile)
		if err != nil {
			return nil, err
		}
		defer log.Close()
		commits, lines := 0, bufio.NewScanner(log)
		for lines.Scan() {
			commits++
		}
		return commits, lines.Err()
	})
}

func ExampleCheck() {
	agent.Main(func(*agent.Request) (any, error) {
		verdict, err := agent.Check(agent.Write, "reports/today.md")
		if err != nil || !verdict.Allowed {
			return "no report wanted", err
		}
		return "reports/today.md", os.WriteFile("reports/today.md", []byte("All is well.\n"), 0o644)
	})
}

func ExampleLogger() {
	agent.Main(func(r *agent.Request) (any, error) {
		log := agent.Logger()
		log.Info("begun", "inputs", len(r.Inputs))
		return nil, nil
	})
}
