package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) packageSignCommand() *cli.Command {
	return &cli.Command{
		Name:      "sign",
		Usage:     "sign a packed package",
		ArgsUsage: "ARCHIVE",
		Description: `What is signed is the id, the version and the digest of the package. The signature
is written to ARCHIVE.sig and belongs beside the package. One that somebody else gave
this very package is kept, one of another version is replaced. The key is one that
package keygen made.`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "key", Usage: "the `FILE` with the signing key, which nobody else may read"}},
		Action: p.packageSign,
	}
}

func (p *program) packageKeygenCommand() *cli.Command {
	return &cli.Command{
		Name:      "keygen",
		Usage:     "make a key for signing packages",
		ArgsUsage: "NAME",
		Description: `The signing key is written to a new file, for you alone; it is not encrypted. The
verifier key is printed, alone on standard output: those who trust you need it, and
may know it by its first two parts, NAME and hash. NAME says whose key it is, as
alice@example.org; it is part of both keys.`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "key", Usage: "the new `FILE` for the signing key"}},
		Action: p.packageKeygen,
	}
}

func signerFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "signer", Usage: "a verifier `KEY` whose signature counts; @FILE reads it from a file"}
}

// madeKey is the answer of package keygen --json.
type madeKey struct {
	Verifier string `json:"verifier_key"`
	File     string `json:"file"`
}

func (p *program) packageKeygen(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	file, err := keyFile(c, "package keygen needs a file for the signing key", "name a new one with --key FILE")
	if err != nil {
		return err
	}
	signing, verifier, err := archive.NewKey(given[0], rand.Reader)
	var bad *archive.KeyError
	if errors.As(err, &bad) {
		return usageError(fmt.Sprintf("%q: %s", given[0], bad), bad.Hint)
	}
	if err != nil {
		return err
	}
	if err := writeSecret(file, signing+"\n"); err != nil {
		return err
	}
	if p.json {
		return p.term.value(madeKey{verifier, file})
	}
	p.term.line("%s", verifier)
	p.term.note("the signing key is in %s: who has it signs as %s; keep it to yourself", file, archive.KeyName(verifier))
	return nil
}

// keyFile is --key, which both commands need. A key that is given itself is not
// shown once more.
func keyFile(c *cli.Context, missing, hint string) (string, error) {
	file := c.String("key")
	switch {
	case file == "":
		return "", usageError(missing, hint)
	case isSigningKey(file):
		return "", usageError(
			"--key names a file, and was given a signing key itself, which others on this machine can see in the list of processes",
			"make a new key with agenthost package keygen, and name its file",
		)
	}
	return file, nil
}

// isSigningKey reports whether a word is a signing key, given where it should not
// be.
func isSigningKey(word string) bool { return strings.HasPrefix(word, "PRIVATE+KEY+") }

// writeSecret writes a new file that nobody else may read, or leaves none.
func writeSecret(name, text string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usageError("--key "+name+" is there already, and a key that is overwritten is lost", "name a new file")
	case err != nil:
		return usageError("--key: "+err.Error(), "name a new file in a folder of yours")
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// readSigningKey reads what package keygen wrote. No message holds it.
func readSigningKey(name string) (string, error) {
	const most = 4 << 10
	f, err := os.Open(name)
	if err != nil {
		return "", usageError("--key: "+err.Error(), "names are relative to the current folder; agenthost package keygen makes a key")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", usageError(
			fmt.Sprintf("--key %s: others may read or write it (mode %04o), and so it keeps no key", name, info.Mode().Perm()),
			"take that right away: chmod 600 "+shellWord(name)+"; if somebody may have read it, make a new key with agenthost package keygen",
		)
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "", usageError("--key: "+err.Error(), "give a file that can be read")
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// signedPackage is the answer of package sign --json.
type signedPackage struct {
	ID       string      `json:"id"`
	Version  string      `json:"version"`
	SHA256   ledger.Hash `json:"sha256"`
	Verifier string      `json:"verifier_key"`
	File     string      `json:"file"`
	Replaced string      `json:"replaced,omitempty"` // the package that a signature was of that is gone now
}

func (p *program) packageSign(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	name := given[0]
	file, err := keyFile(c, "package sign needs a signing key", "name its file with --key FILE; agenthost package keygen makes one")
	if err != nil {
		return err
	}
	key, err := until(c.Context, func() (string, error) { return readSigningKey(file) })
	if err != nil {
		return err
	}
	verifier, err := archive.VerifierKey(key)
	if err != nil {
		return keyFailure("--key "+file, err)
	}
	pkg, err := openArchive(name)
	if err != nil {
		return err
	}
	defer pkg.Close()
	signature, replaced, err := signBeside(pkg, name, key)
	if err != nil {
		return err
	}
	if err := archive.WriteSignature(name, signature); err != nil {
		return openError(name, err)
	}
	m, beside := pkg.Manifest, name+archive.SignatureSuffix
	if p.json {
		return p.term.value(signedPackage{m.ID, m.Version, pkg.Digest, verifier, beside, replaced})
	}
	p.term.line("%s", verifier)
	if replaced != "" {
		p.term.note("the signature that was in %s is gone: it was of %s", beside, replaced)
	}
	p.term.note("signed %s %s, %s, as %s; the signature is in %s", m.ID, m.Version, short(pkg.Digest), archive.KeyName(verifier), beside)
	return nil
}

// openArchive opens a packed package, and nothing else.
func openArchive(name string) (*archive.Package, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, usageError(name+" is a folder, and only packed packages are signed", "pack it first: agenthost package pack --src "+shellWord(name))
	}
	if isModule(name) {
		return nil, usageError(name+" is a bare module, and only packed packages are signed", "put it in a folder with a manifest.json, then agenthost package pack")
	}
	pkg, err := archive.ReadFile(name)
	if err != nil {
		return nil, openError(name, err)
	}
	return pkg, nil
}

// isModule reports whether a file begins as a WebAssembly module does.
func isModule(name string) bool {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, 4)
	_, err = io.ReadFull(f, start)
	return err == nil && string(start) == "\x00asm"
}

// signBeside signs a package that was read from a file. Signatures of the same
// package that lie beside it are kept; replaced is the package that those beside it
// are of, if it is another one.
func signBeside(pkg *archive.Package, name, key string) (signature []byte, replaced string, err error) {
	before, err := archive.ReadSignature(name)
	var bad *archive.SignatureError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		signature, err = archive.Sign(pkg, key)
	case err == nil:
		signature, err = archive.Cosign(pkg, before, key)
		if errors.As(err, &bad) && bad.Of != "" {
			replaced = bad.Of
			signature, err = archive.Sign(pkg, key)
		}
	}
	if errors.As(err, &bad) {
		return nil, "", usageError(name+archive.SignatureSuffix+" is there and is no signature of a package: "+bad.What, "move it away, to make room for one")
	}
	return signature, replaced, err
}

// keyFailure says where a key that is none came from.
func keyFailure(where string, err error) error {
	var bad *archive.KeyError
	if errors.As(err, &bad) {
		return usageError(where+": "+bad.What, bad.Hint)
	}
	return err
}

// verifierKey reads a verifier key that was given: itself, or as @FILE.
func verifierKey(ctx context.Context, where, given string) (string, error) {
	key := given
	if name, ok := strings.CutPrefix(given, "@"); ok {
		where += " " + given
		data, err := until(ctx, func() ([]byte, error) { // it may be a pipe
			f, err := os.Open(name)
			if err != nil {
				return nil, usageError(where+": "+err.Error(), "names are relative to the current folder")
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, 4<<10))
			if err != nil {
				return nil, usageError(where+": "+err.Error(), "give a file that can be read")
			}
			return data, nil
		})
		if err != nil {
			return "", err
		}
		key = strings.TrimSpace(string(data))
	}
	err := keyFailure(where, archive.CheckKey(key))
	var f *failure
	if info, serr := os.Stat(given); errors.As(err, &f) && serr == nil && info.Mode().IsRegular() {
		f.hint = "write @" + given + " for the key in that file"
	}
	return key, err
}

// signed is what is known of the signature of a package.
type signed struct {
	File     string   `json:"file,omitempty"`         // where it is; nowhere if the package is installed
	Verifier string   `json:"verifier_key,omitempty"` // who signed it, which was verified
	Unknown  []string `json:"unknown,omitempty"`      // who says to have signed it, if nobody is known: NAME+HASH
	Wrong    string   `json:"wrong,omitempty"`        // why it does not count
}

// signature looks at the signature of a package that was named; nil if there is
// none. Refused says that it is of none of the keys that were asked for.
func (p *program) signature(c *cli.Context, pkg named) (s *signed, refused *failure, err error) {
	var keys []string
	for _, given := range c.StringSlice("signer") {
		key, err := verifierKey(c.Context, "--signer", given)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, key)
	}
	wanted := len(keys) > 0
	name := c.Args().First()
	if pkg.installed != nil {
		if key := pkg.installed.Signer; key != "" {
			s = &signed{Verifier: key}
		}
		if wanted && (s == nil || !slices.Contains(keys, s.Verifier)) {
			refused = &failure{message: name + " was installed with no signature of these keys", hint: "install it again with its signature beside the archive", code: exitRefused}
		}
		return s, refused, nil
	}
	text, err := archive.ReadSignature(name)
	var bad *archive.SignatureError
	switch {
	case errors.Is(err, fs.ErrNotExist) && wanted:
		return nil, &failure{message: name + " is not signed: there is no " + name + archive.SignatureSuffix, hint: "get the signature that belongs beside it", code: exitRefused}, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil && !errors.As(err, &bad):
		return nil, nil, openError(name+archive.SignatureSuffix, err)
	}
	s = &signed{File: name + archive.SignatureSuffix}
	if err == nil && !wanted {
		keys, err = p.trustedKeys()
	}
	if err == nil {
		s.Verifier, err = archive.CheckSignature(pkg.Package, text, keys)
	}
	if errors.As(err, &bad) {
		if s.Unknown = bad.Signers; bad.Signers == nil {
			s.Wrong = bad.What
		}
		if wanted {
			refused = &failure{message: s.File + ": " + bad.What, hint: bad.Hint, code: exitRefused}
		}
		return s, refused, nil
	}
	return s, nil, err
}

// trustedKeys are the keys that the control plane trusts; none elsewhere.
func (p *program) trustedKeys() ([]string, error) {
	root, err := p.openRoot()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if !root.Control() {
		return nil, nil
	}
	pl, err := p.controlPlane(root)
	if err != nil {
		return nil, err
	}
	return pl.State().Trusted, nil
}

func (p *program) showSigned(s *signed) {
	switch {
	case s == nil:
	case s.Verifier != "":
		p.term.line("signed by %s, verified", archive.KeyName(s.Verifier))
	case s.Unknown != nil:
		p.term.line("signed by %s, it says: the key is not known here, and nothing was verified", strings.Join(s.Unknown, ", "))
	default:
		p.term.line("signed, but worthless: %s", s.Wrong)
	}
}
