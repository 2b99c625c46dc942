// Steps is a guest of tests. Each argument is a step, a verb and its words
// separated by spaces; what a step sees it prints as a line. Steps that hurt are
// the hostile ones: they are what the host must survive.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	for _, step := range os.Args[1:] {
		words := strings.Split(step, " ")
		do, ok := verbs[words[0]]
		if !ok {
			continue // an argument of the test's own
		}
		do(words[1:])
	}
}

var verbs = map[string]func(words []string){
	"stdin": func([]string) { io.Copy(os.Stdout, os.Stdin) },
	"env":   func([]string) { fmt.Println(strings.Join(os.Environ(), "\n")) },
	"argv":  func([]string) { fmt.Printf("%q\n", os.Args) },
	"say":   func(w []string) { fmt.Print(strings.Join(w, " ")) },
	"bytes": func(w []string) { b, _ := hex.DecodeString(w[0]); os.Stdout.Write(b) },
	"tell":  func(w []string) { fmt.Fprintln(os.Stderr, strings.Join(w, " ")) },
	"exit":  func(w []string) { os.Exit(number(w[0])) },
	"panic": func(w []string) { panic(strings.Join(w, " ")) },

	"read": func(w []string) {
		b, err := os.ReadFile(w[0])
		report("read", w[0], string(b), err)
	},
	"write": func(w []string) {
		report("write", w[0], "done", os.WriteFile(w[0], []byte(strings.Join(w[1:], " ")), 0o644))
	},
	"append": func(w []string) {
		f, err := os.OpenFile(w[0], os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString(strings.Join(w[1:], " "))
		}
		report("append", w[0], "done", err)
	},
	"list": func(w []string) {
		var names []string
		entries, err := os.ReadDir(w[0])
		for _, e := range entries {
			names = append(names, e.Name())
		}
		report("list", w[0], strings.Join(names, " "), err)
	},
	"raw-list": func(w []string) { // in the host's order, which ReadDir sorts away
		f, err := os.Open(w[0])
		var names []string
		if err == nil {
			names, err = f.Readdirnames(-1)
		}
		report("raw-list", w[0], strings.Join(names, " "), err)
	},
	"stat": func(w []string) {
		info, err := os.Stat(w[0])
		said := ""
		if err == nil {
			said = fmt.Sprint(info.Mode(), " ", info.Size(), " ", info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		report("stat", w[0], said, err)
	},
	"mkdir":  func(w []string) { report("mkdir", w[0], "done", os.Mkdir(w[0], 0o755)) },
	"remove": func(w []string) { report("remove", w[0], "done", os.Remove(w[0])) },
	"rename": func(w []string) { report("rename", w[0], "done", os.Rename(w[0], w[1])) },
	"link":   func(w []string) { report("link", w[0], "done", os.Symlink(w[0], w[1])) },
	"walk": func(w []string) {
		filepath.WalkDir(w[0], func(p string, _ fs.DirEntry, err error) error {
			fmt.Println(p, err)
			return nil
		})
	},

	"clock": func(w []string) {
		for range number(w[0]) {
			fmt.Println(time.Now().UTC().Format(time.RFC3339Nano))
		}
	},
	"sleep":  func(w []string) { d, _ := time.ParseDuration(w[0]); time.Sleep(d); fmt.Println("slept") },
	"call":   call,   // a message, by the functions of the contract
	"device": device, // the same, through the device file
	"calls": func(w []string) { // of one message, again and again
		for range number(w[0]) {
			send(message(w[1:]))
		}
		fmt.Println("called")
	},
	"unread": func(w []string) { // messages through devices that stay open
		for range number(w[0]) {
			f, err := os.OpenFile("/.agenthost/call", os.O_RDWR, 0)
			if err != nil {
				fmt.Println(err)
				return
			}
			f.WriteString(message(w[1:]) + "\n")
			held = append(held, f)
		}
	},

	"random": func(w []string) {
		b := make([]byte, number(w[0]))
		rand.Read(b)
		fmt.Println(hex.EncodeToString(b))
	},
	"goroutines": func(w []string) {
		done := make(chan int)
		for i := range number(w[0]) {
			go func() { done <- i }()
		}
		sum := 0
		for range number(w[0]) {
			sum += <-done
		}
		fmt.Println(sum)
	},
	"map": func([]string) { // whose order comes from the runtime's randomness
		m := map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8}
		for k := range m {
			fmt.Print(k)
		}
		fmt.Println()
	},

	"loop":    func([]string) { loop() },
	"recurse": func([]string) { fmt.Println(recurse(1)) },
	"alloc": func(w []string) {
		var keep [][]byte
		for range number(w[0]) {
			keep = append(keep, slices.Repeat([]byte{1}, 1<<20))
		}
		fmt.Println(len(keep))
	},
	"flood": func(w []string) { flood(os.Stdout, number(w[0])) },
	"shout": func(w []string) { flood(os.Stderr, number(w[0])) },
	"blow": func(w []string) {
		f, err := os.Create(w[0])
		report("create", w[0], "done", err)
		flood(f, number(w[1]))
	},
	"sparse": func(w []string) {
		f, err := os.Create(w[0])
		if err == nil {
			err = f.Truncate(int64(number(w[1])))
		}
		report("sparse", w[0], "done", err)
	},
	"many": func(w []string) { // files, that stay open
		for i := range number(w[1]) {
			if _, err := os.Create(fmt.Sprintf("%s/%d", w[0], i)); err != nil {
				fmt.Println(err)
				return
			}
		}
	},
	"touch": func(w []string) { // files, one after another
		for i := range number(w[1]) {
			report("touch", w[0], "", os.WriteFile(fmt.Sprintf("%s/%d%s", w[0], i, strings.Repeat("x", number(w[2]))), nil, 0o644))
		}
	},
	"probe": func(w []string) { // names that are not there
		for i := range number(w[1]) {
			os.Stat(fmt.Sprintf("%s%d", w[0], i))
		}
		fmt.Println("probed")
	},
	"poke": func(w []string) { // one name, again and again
		for range number(w[1]) {
			os.Stat(w[0])
		}
		fmt.Println("poked")
	},
	"deny": func(w []string) { // does what is forbidden, and everything to go on
		try := func() error { _, err := os.ReadFile(w[0]); return err }
		if strings.HasPrefix(w[0], "{") {
			try = func() error { call(w); return nil }
		}
		defer func() {
			recover()
			fmt.Println("survived")
			os.WriteFile("out/survived", nil, 0o644)
		}()
		go func() {
			for {
				os.WriteFile("out/meanwhile", nil, 0o644)
			}
		}()
		fmt.Println("went on", try())
		for range 1000 {
			try()
		}
	},
}

var held []*os.File

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func report(verb, subject, said string, err error) {
	if err != nil {
		said = err.Error()
	}
	fmt.Printf("%s %s: %s\n", verb, subject, said)
}

//go:noinline
func loop() {
	for n := 0; ; n++ {
		if n < 0 {
			n = 0
		}
	}
}

//go:noinline
func recurse(n int) int {
	if n == 0 {
		return 0
	}
	return recurse(n+1) + 1
}

func flood(w io.Writer, size int) {
	chunk := []byte(strings.Repeat("x", 1<<16))
	for size > 0 {
		n, err := w.Write(chunk[:min(size, len(chunk))])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(9)
		}
		size -= n
	}
}
