package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/session"
)

func TestMain(m *testing.M) {
	if code, ok := Helper(os.Args, os.Stdin, os.Stdout); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	os.MkdirAll(src, 0o755)
	os.WriteFile(filepath.Join(src, "main.go"), []byte(`package main
import ("fmt";"io";"os";"io/fs";"path/filepath")
func main() {
	b, _ := io.ReadAll(os.Stdin)
	fmt.Fprintf(os.Stderr, "request %s\n", b)
	filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error { fmt.Println(p, err); return nil })
	c, err := os.ReadFile("docs/a.md")
	fmt.Println(string(c), err)
	_, err = os.ReadFile("secret.txt")
	fmt.Println(err)
	err = os.WriteFile("out/report.md", []byte("hello"), 0o644)
	fmt.Println(err)
	err = os.WriteFile("/tmp/x", []byte("hello"), 0o644)
	fmt.Println(err)
}
`), 0o644)
	os.WriteFile(filepath.Join(src, "go.mod"), []byte("module x\n\ngo 1.26\n"), 0o644)
	pkgDir := filepath.Join(dir, "pkg")
	os.MkdirAll(pkgDir, 0o755)
	cmd := exec.Command("go", "build", "-o", filepath.Join(pkgDir, "agent.wasm"), ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	os.WriteFile(filepath.Join(pkgDir, "manifest.json"), []byte(`{"schema":"agenthost/package/v1","id":"PKG-T3-X-001","version":"0.1.0","entry":{"module":"agent.wasm"},
"capabilities":{"read":["docs/**"]},"outputs":[{"path":"out/report.md","role":"report"}],"inputs":["docs/*.md"]}`), 0o644)
	ws := filepath.Join(dir, "ws")
	os.MkdirAll(filepath.Join(ws, "docs"), 0o755)
	os.WriteFile(filepath.Join(ws, "docs/a.md"), []byte("A"), 0o644)
	os.WriteFile(filepath.Join(ws, "secret.txt"), []byte("S"), 0o644)

	pkg, err := archive.FromFolder(pkgDir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRunner(ctx, Config{CacheDir: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	p, err := r.Prepare(ctx, pkg, Turn{Workspace: ws, Prompt: "hi", Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	root, err := session.OpenRoot(session.Options{Workspace: ws})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := session.NewID(p.runner.cfg.Now(), os.Stdin)
	id = "SES-1"
	s, err := root.Create(ctx, session.Opening{ID: id, Plane: "ho1", Open: p.Opening(), Seed: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.Run(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v\n%s", res, res.Output)
	out, _ := exec.Command("find", ws).CombinedOutput()
	t.Logf("%s", out)
	for _, f := range []string{"exec", "evidence"} {
		b, _ := os.ReadFile(filepath.Join(ws, ".agenthost/planes/ho1/sessions/SES-1/ledger/"+f+".jsonl"))
		t.Logf("%s", b)
	}
}
