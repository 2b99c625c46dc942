package meter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// suites are the parts of the specification's own tests, as wazero ships them, for the features that are metered.
var suites = []string{"v1", "v2", "tail-call", "extended-const", "exception-handling"}

// suiteDir is where these tests are, in Go's module cache.
func suiteDir(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal("find the specification's tests in the module cache: ", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest")
}

type specValue struct {
	Type  string
	Value json.RawMessage
}

type specCommand struct {
	Type, Filename, Name string
	Line                 int
	Action               struct {
		Type, Module, Field string
		Args                []specValue
	}
}

// TestSpecification runs the specification's tests on plain and on metered modules and demands the same answers.
func TestSpecification(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some ten seconds")
	}
	dir := suiteDir(t)
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			s := specRun{engine: engine, refused: map[string]int{}}
			for _, suite := range suites {
				files, err := filepath.Glob(filepath.Join(dir, suite, "testdata/*.json"))
				if err != nil || len(files) == 0 {
					t.Fatal("no tests in ", suite, err)
				}
				for _, file := range files {
					s.file(t, file, filepath.Join(dir, "testdata/spectest.wasm"))
				}
			}
			t.Logf("%d modules, %d actions the same; refused: %v", s.modules, s.actions, s.refused)
			if s.modules < 2000 || s.actions < 40000 {
				t.Error("fewer than there should be")
			}
		})
	}
}

type specRun struct {
	engine           string
	modules, actions int
	refused          map[string]int
}

// file runs one file on two hosts: the first plain, the second metered.
func (s *specRun) file(t *testing.T, file, spectest string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var script struct{ Commands []specCommand }
	if err := json.Unmarshal(text, &script); err != nil {
		t.Fatal(err)
	}
	offered, err := os.ReadFile(spectest)
	if err != nil {
		t.Fatal(err)
	}
	var hosts [2]*host
	for i := range hosts {
		hosts[i] = newHost(t, s.engine, AccountConfig{Slice: 1 << 12})
		if _, err := hosts[i].InstantiateWithConfig(hosts[i].ctx, offered, wazero.NewModuleConfig().WithName("spectest")); err != nil {
			t.Fatal(err)
		}
		defer hosts[i].Close(hosts[i].ctx)
	}
	type pair [2]api.Module
	var current pair
	named := map[string]pair{}
	for n, c := range script.Commands {
		at := fmt.Sprintf("%s:%d", filepath.Base(file), c.Line)
		switch c.Type {
		case "module", "assert_uninstantiable", "assert_unlinkable":
			current = s.instantiate(t, at, n, filepath.Join(filepath.Dir(file), c.Filename), hosts)
			named[c.Name] = current
		case "action", "assert_return", "assert_trap", "assert_exhaustion", "assert_exception":
			p := current
			if c.Action.Module != "" {
				p = named[c.Action.Module]
			}
			if c.Action.Type == "invoke" && p[0] != nil && p[1] != nil {
				s.invoke(t, at, c, hosts, p)
			}
		}
	}
}

func (s *specRun) instantiate(t *testing.T, at string, n int, file string, hosts [2]*host) (p [2]api.Module) {
	wasm, err := os.ReadFile(file)
	if err != nil || filepath.Ext(file) != ".wasm" {
		return p
	}
	plain, err := hosts[0].CompileModule(hosts[0].ctx, wasm)
	if err != nil {
		return p // not valid with these features
	}
	out, _, err := Inject(wasm, Config{})
	if err != nil {
		var u *UnsupportedError
		if !errors.As(err, &u) {
			t.Errorf("%s: %v", at, err)
			return p
		}
		s.refused[u.Feature]++
		return p
	}
	metered, err := hosts[1].CompileModule(hosts[1].ctx, out)
	if err != nil {
		t.Errorf("%s: does not validate: %v", at, err)
		return p
	}
	s.modules++
	var errs [2]error
	for i, m := range []wazero.CompiledModule{plain, metered} {
		p[i], errs[i] = hosts[i].InstantiateModule(hosts[i].ctx, m, wazero.NewModuleConfig().WithName(fmt.Sprint("m", n)))
	}
	// The text names the start function by its index, which the import has moved by one.
	_, plainText, _ := strings.Cut(firstLine(errs[0]), " failed: ")
	_, meteredText, _ := strings.Cut(firstLine(errs[1]), " failed: ")
	if (errs[0] == nil) != (errs[1] == nil) || plainText != meteredText {
		t.Errorf("%s: instantiates with %v, metered with %v", at, errs[0], errs[1])
	}
	if errs[0] != nil || errs[1] != nil {
		return [2]api.Module{}
	}
	return p
}

func (s *specRun) invoke(t *testing.T, at string, c specCommand, hosts [2]*host, p [2]api.Module) {
	var results [2][]uint64
	var errs [2]error
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.words()...)
	}
	for i, m := range p {
		f := m.ExportedFunction(c.Action.Field)
		if f == nil {
			return
		}
		results[i], errs[i] = f.Call(hosts[i].ctx, args...)
		for k, typ := range f.Definition().ResultTypes() {
			if (typ == api.ValueTypeExternref || typ == 0x70 || typ == 0x69) && k < len(results[i]) && results[i][k] != 0 {
				results[i][k] = 1 // references are addresses: only whether they are null can be the same
			}
		}
	}
	s.actions++
	var stop *Stop
	if errors.As(errs[1], &stop) && stop.Reason == StopDepth && strings.Contains(firstLine(errs[0]), "stack overflow") {
		errs[1] = errs[0]
	}
	if errs[1] != nil {
		// A trap leaves the depth as it is; these tests go on with the instance, so it is given another.
		hosts[1].account(p[1].Name()).started = false
	}
	if !slices.Equal(results[0], results[1]) || firstLine(errs[0]) != firstLine(errs[1]) {
		t.Errorf("%s: %s gives %v %v, metered %v %v", at, c.Action.Field, results[0], errs[0], results[1], errs[1])
	}
}

// words are an argument as wazero takes it.
func (v specValue) words() []uint64 {
	number := func(s string) uint64 {
		if u, err := strconv.ParseUint(s, 10, 64); err == nil {
			return u
		}
		i, _ := strconv.ParseInt(s, 10, 64)
		return uint64(i) // "null" is 0
	}
	var lanes []string
	if json.Unmarshal(v.Value, &lanes) == nil && len(lanes) > 0 {
		bits := 128 / len(lanes)
		words := make([]uint64, 2)
		for i, lane := range lanes {
			x := number(lane)
			if bits < 64 {
				x &= 1<<bits - 1
			}
			words[i*bits/64] |= x << (i * bits % 64)
		}
		return words
	}
	var s string
	_ = json.Unmarshal(v.Value, &s)
	return []uint64{number(s)}
}
