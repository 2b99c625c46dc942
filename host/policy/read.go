package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

// maxFile bounds a policy file, in bytes.
const maxFile = 1 << 20

// Error is a mistake in a policy, or in what narrows it.
type Error struct {
	Source string // the file, or the flag
	Where  string // path of the value, as capabilities.read[2]; may be empty
	What   string // what is wrong
	Hint   string // the way out; may be empty
}

// Error is one line without the hint.
func (e *Error) Error() string {
	if e.Where == "" {
		return e.Source + ": " + e.What
	}
	return e.Source + ": " + e.Where + ": " + e.What
}

// Load reads the policy that holds: the named file; where file is empty,
// control/policy.json beneath root; where that does not exist, the built-in one.
// A mistake in a policy is an [*Error]. A file that cannot be read is an error
// and never a reason to take the next one.
func Load(file, root string) (*Policy, error) {
	if file != "" {
		data, err := readFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Source: file, What: "no such file", Hint: "without --policy the policy of the root holds, or the built-in one"}
		}
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		return Parse(file, data)
	}
	file = filepath.Join(root, "control", "policy.json")
	data, err := readFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Default()
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return Parse(file, data)
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Source: name, What: "not a regular file", Hint: "write the policy to a file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, &Error{Source: name, What: fmt.Sprintf("larger than %d bytes", maxFile)}
	}
	return data, nil
}

// Parse reads a policy, all of it or nothing. A key that is left out keeps its
// built-in value; within capabilities an operation that is left out is granted
// to nobody. Every error is an [*Error] about the first mistake. Source says in
// it where data came from.
func Parse(source string, data []byte) (*Policy, error) {
	p, err := Default()
	if err != nil {
		return nil, err
	}
	p.Source, p.SHA256 = source, ledger.Sum(data)
	var accept []string
	err = archive.DecodeDocument(data, Schema,
		archive.GrantsKey("capabilities", &p.Capabilities),
		archive.TextsKey("withhold", &p.Withhold),
		archive.TextsKey("accept", &accept),
		archive.LimitsKey("limits", &p.Limits),
		archive.TextsKey("env", &p.Env),
		archive.TextsKey("path", &p.Path),
		archive.TextsKey("redact", &p.Redact),
		archive.SwitchesKey("require_signature", archive.Planes(), &p.RequireSignature),
	)
	var mistake *archive.ManifestError
	if errors.As(err, &mistake) {
		return nil, &Error{source, mistake.Where, mistake.What, mistake.Hint}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	for i, text := range accept {
		a, err := parseAcceptance(text)
		if err != nil {
			return nil, &Error{source, fmt.Sprintf("accept[%d]", i), err.Error(), "say ID@sha256: and 64 hex digits, as package inspect prints it"}
		}
		p.Accept = append(p.Accept, a)
	}
	return p, p.check()
}

func parseAcceptance(text string) (Acceptance, error) {
	id, digest, found := strings.Cut(text, "@")
	if !found || archive.CheckID("PKG", id) != nil {
		return Acceptance{}, fmt.Errorf("%q does not begin with the id of a package and @", text)
	}
	h, err := ledger.ParseHash(digest)
	if err != nil {
		return Acceptance{}, fmt.Errorf("%q does not end with a digest", text)
	}
	return Acceptance{id, h}, nil
}

// check looks at the values of a policy that was read.
func (p *Policy) check() error {
	if p.Capabilities != nil {
		if _, err := capability.New(*p.Capabilities); err != nil {
			return grantError(p.Source, "capabilities.", err)
		}
	}
	if err := checkWithhold(p.Withhold); err != nil {
		return grantError(p.Source, "", err)
	}
	for i, name := range p.Env {
		if why := refusedVariable(name); why != "" {
			return &Error{p.Source, fmt.Sprintf("env[%d]", i), fmt.Sprintf("%q %s", name, why), "leave it out"}
		}
	}
	for i, dir := range p.Path {
		if !path.IsAbs(dir) || path.Clean(dir) != dir || strings.Contains(dir, ":") {
			return &Error{p.Source, fmt.Sprintf("path[%d]", i), fmt.Sprintf("%q is not an absolute folder", dir), "as /usr/bin"}
		}
	}
	for i, source := range p.Redact {
		if _, _, err := RedactSource(source); err != nil {
			return &Error{p.Source, fmt.Sprintf("redact[%d]", i), err.Error(), "say env:NAME, or file: and an absolute path: a policy names where a value is, never the value"}
		}
	}
	return nil
}

// RedactSource takes a member of Policy.Redact apart: one of both is set.
func RedactSource(source string) (variable, file string, err error) {
	kind, name, _ := strings.Cut(source, ":")
	switch {
	case kind == "env" && name != "" && !strings.ContainsAny(name, "=\x00"):
		return name, "", nil
	case kind == "file" && filepath.IsAbs(name):
		return "", name, nil
	}
	return "", "", errors.New("it names neither a variable nor a file") // it may be a value
}

// checkWithhold compiles the patterns as a turn will.
func checkWithhold(patterns []string) error {
	none, err := capability.New(capability.Grants{})
	if err == nil {
		_, err = none.Attenuate(capability.Rights{Withhold: patterns})
	}
	return err
}

// grantError turns a complaint of the capability package into one about a place
// in the policy.
func grantError(source, prefix string, err error) error {
	var g *capability.GrantError
	if !errors.As(err, &g) {
		return fmt.Errorf("%s: %w", source, err)
	}
	where := prefix + g.Field
	if source == flagForbid {
		where = "" // the pattern says which
	}
	return &Error{source, where, fmt.Sprintf("%q %s", g.Pattern, g.Reason), g.Hint}
}

// refusedVariable says why a command must not get a variable from outside: it
// would change which code runs. See CONFINE.md, "Which command".
func refusedVariable(name string) string {
	const letters = "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if name == "" || strings.Trim(name[:1], letters) != "" || strings.Trim(name, letters+"0123456789") != "" {
		return "is not the name of a variable"
	}
	for _, prefix := range []string{"LD_", "DYLD_", "GIT_", "PYTHON", "PERL5", "AGENTHOST_"} {
		if strings.HasPrefix(name, prefix) {
			return "changes which code a command runs"
		}
	}
	switch name {
	case "NODE_OPTIONS", "NODE_PATH", "RUBYOPT", "RUBYLIB", "BASH_ENV", "ENV", "IFS", "SHELLOPTS", "PROMPT_COMMAND", "JAVA_TOOL_OPTIONS":
		return "changes which code a command runs"
	case "PATH", "HOME", "TMPDIR", "TEMP", "TMP", "LANG", "TZ":
		return "is set by agenthost"
	}
	return ""
}
