// Script is an agent that does what its arguments say, one thing after the
// other, and says on standard error how each went. It lets a test read as a
// story:
//
//	agenthost run agent -- read docs/a.md write out/report.md hello print done
//
// A text may hold Go's escapes: \n, \x1b, \u202e.
package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// A verb is one thing the agent can do, with so many words after it. It returns
// what to say of it.
type verb struct {
	words int
	do    func(w []string) (string, error)
}

var verbs = map[string]verb{
	// Files.
	"read":     {1, read},              // and say what is in it
	"write":    {2, write},             // NAME TEXT
	"append":   {2, open(os.O_APPEND)}, // NAME TEXT
	"create":   {2, open(os.O_EXCL)},   // NAME TEXT, unless it is there
	"truncate": {2, truncate},          // NAME BYTES
	"fill":     {2, fill},              // NAME KIB
	"stat":     {1, stat},              // is it there?
	"list":     {1, list},              // the names in a folder
	"mkdir":    {1, func(w []string) (string, error) { return "", os.Mkdir(w[0], 0o755) }},
	"rename":   {2, func(w []string) (string, error) { return "", os.Rename(w[0], w[1]) }},
	"remove":   {1, func(w []string) (string, error) { return "", os.Remove(w[0]) }},
	"symlink":  {2, func(w []string) (string, error) { return "", os.Symlink(w[0], w[1]) }},
	"link":     {2, func(w []string) (string, error) { return "", os.Link(w[0], w[1]) }},
	"many":     {2, many},  // PREFIX COUNT: empty files
	"hold":     {2, hold},  // NAME COUNT: descriptors on one file
	"probe":    {1, probe}, // COUNT names that are not there
	"await":    {1, await}, // computes until a file is there

	// Messages to the host, and the reply.
	"call":   {1, call},   // by the functions of the contract
	"device": {1, device}, // through the device file

	// What it was given, and what it answers.
	"request": {0, request}, // standard input, to standard output
	"args":    {0, func([]string) (string, error) { return strings.Join(os.Args, " "), nil }},
	"environ": {0, environ},
	"now":     {0, func([]string) (string, error) { return time.Now().UTC().Format(time.RFC3339Nano), nil }},
	"random":  {0, random},
	"print":   {1, func(w []string) (string, error) { return quiet(os.Stdout.WriteString(unescape(w[0]))) }},
	"hex":     {1, printHex},
	"gush":    {1, flood(os.Stdout)}, // KIB on standard output

	// Messages.
	"say":   {1, func(w []string) (string, error) { return quiet(os.Stderr.WriteString(unescape(w[0]) + "\n")) }},
	"flood": {1, flood(os.Stderr)}, // KIB on standard error

	// Ends.
	"exit": {1, func(w []string) (string, error) { os.Exit(number(w[0])); return "", nil }},
	"trap": {0, func([]string) (string, error) { *(*int)(unsafe.Add(unsafe.Pointer(&sum), 1<<31)) = 1; return "", nil }},
	"spin": {0, func([]string) (string, error) { compute(-1); return "", nil }},
	"deep": {1, func(w []string) (string, error) { return strconv.Itoa(deep(number(w[0]))), nil }},
	"grow": {1, grow}, // MIB of memory
}

// silent is said of what needs no saying.
const silent = "\x00"

func main() {
	for words := os.Args[1:]; len(words) > 0; {
		name := words[0]
		v, ok := verbs[name]
		if !ok || len(words) <= v.words {
			os.Stderr.WriteString("script: " + name + " is no verb, or words are missing\n")
			os.Exit(2)
		}
		said, err := v.do(words[1 : 1+v.words])
		switch {
		case err != nil:
			said = outcome(err)
		case said == "":
			said = "done"
		}
		if said != silent {
			subject := name
			if v.words > 0 {
				subject += " " + strconv.QuoteToASCII(unescape(words[1]))
			}
			os.Stderr.WriteString(subject + ": " + said + "\n")
		}
		words = words[1+v.words:]
	}
}

func outcome(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err.Error()
	}
	return err.Error()
}

func read(w []string) (string, error) {
	b, err := os.ReadFile(unescape(w[0]))
	return strconv.QuoteToASCII(string(b)), err
}

func write(w []string) (string, error) {
	return "", os.WriteFile(unescape(w[0]), []byte(unescape(w[1])), 0o644)
}

func open(flag int) func(w []string) (string, error) {
	return func(w []string) (string, error) {
		f, err := os.OpenFile(unescape(w[0]), os.O_WRONLY|os.O_CREATE|flag, 0o644)
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(unescape(w[1]))
		return "", errors.Join(err, f.Close())
	}
}

func truncate(w []string) (string, error) {
	f, err := os.OpenFile(w[0], os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	return "", errors.Join(f.Truncate(int64(number(w[1]))), f.Close())
}

func fill(w []string) (string, error) {
	return "", os.WriteFile(w[0], make([]byte, number(w[1])<<10), 0o644)
}

func stat(w []string) (string, error) {
	info, err := os.Stat(w[0])
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "a folder", nil
	}
	return strconv.FormatInt(info.Size(), 10) + " bytes", nil
}

func list(w []string) (string, error) {
	entries, err := os.ReadDir(w[0])
	if err != nil {
		return "", err
	}
	names := []string{strconv.Itoa(len(entries))}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " "), nil
}

func many(w []string) (string, error) {
	for i := range number(w[1]) {
		if err := os.WriteFile(w[0]+strconv.Itoa(i), nil, 0o644); err != nil {
			return "", err
		}
	}
	return "", nil
}

func hold(w []string) (string, error) {
	var held []*os.File
	for range number(w[1]) {
		f, err := os.Open(w[0])
		if err != nil {
			return "", err
		}
		held = append(held, f)
	}
	return strconv.Itoa(len(held)), nil
}

func probe(w []string) (string, error) {
	for i := range number(w[0]) {
		if _, err := os.Stat("nothing/" + strconv.Itoa(i)); err == nil {
			return "", errors.New("something is there")
		}
	}
	return "", nil
}

func await(w []string) (string, error) {
	for {
		if _, err := os.Stat(w[0]); err == nil {
			return "", nil
		}
		compute(20_000_000)
	}
}

func request([]string) (string, error) {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return silent, err
}

func environ([]string) (string, error) {
	env := os.Environ()
	slices.Sort(env)
	return strings.Join(env, " "), nil
}

func random([]string) (string, error) {
	f, err := os.Open("/dev/urandom")
	if err == nil {
		f.Close()
		return "", errors.New("/dev/urandom is there")
	}
	// Go seeds the order of its maps from the host's randomness.
	m := map[int]bool{}
	for i := range 64 {
		m[i] = true
	}
	var order []string
	for i := range m {
		order = append(order, strconv.Itoa(i))
	}
	return strings.Join(order, " "), nil
}

func printHex(w []string) (string, error) {
	var b []byte
	for i := 0; i+1 < len(w[0]); i += 2 {
		n, err := strconv.ParseUint(w[0][i:i+2], 16, 8)
		if err != nil {
			return "", err
		}
		b = append(b, byte(n))
	}
	return quiet(os.Stdout.Write(b))
}

func flood(f *os.File) func(w []string) (string, error) {
	return func(w []string) (string, error) {
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range number(w[0]) {
			if _, err := f.Write(line); err != nil {
				return "", err
			}
		}
		return silent, nil
	}
}

var held [][]byte

func grow(w []string) (string, error) {
	for range number(w[0]) {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	return "", nil
}

func deep(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + deep(n-1)
}

// compute adds up to n, or for ever where n is negative.
func compute(n int) {
	for i := 0; i != n; i++ {
		sum += i
	}
}

var sum int

func quiet(_ int, err error) (string, error) { return silent, err }

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		os.Stderr.WriteString("script: " + s + " is no number\n")
		os.Exit(2)
	}
	return n
}

// unescape replaces Go's escapes in a text.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		os.Stderr.WriteString("script: " + s + " is no text\n")
		os.Exit(2)
	}
	return text
}
