package main

import (
	"errors"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// Exit statuses, as DESIGN.md's table has them. 130 and 143 are what a signal
// leaves behind.
const (
	exitOK        = 0
	exitGuest     = 1 // the guest failed: exit, trap
	exitUsage     = 2 // the request is wrong; nothing was changed
	exitBlocked   = 3 // a violation or a mismatch; nothing was published
	exitIntegrity = 4 // a record does not verify
	exitRefused   = 6 // not accepted, not trusted
	exitLimit     = 7 // a limit ended the turn
	exitHost      = 8 // the host itself failed
)

// failure is why a command ends with a status other than 0: what went wrong and
// where, what to do, and the status.
type failure struct {
	message string // empty when all was said already
	hint    string // empty when nothing is known to help
	code    int
	err     error      // the cause, or nil
	also    []*failure // further mistakes of the same kind
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.err }

// usageError is a mistake in the request.
func usageError(message, hint string) error {
	return &failure{message: message, hint: hint, code: exitUsage}
}

// flagValueError is a value the library could not parse.
func flagValueError(err error) error {
	return &failure{message: err.Error(), hint: "correct the value of the flag", code: exitUsage, err: err}
}

// explain finds the words and the status for any error a command returns.
func explain(err error) *failure {
	var (
		f         *failure
		violation *capability.Violation
		grant     *capability.GrantError
		manifest  *archive.ManifestError
		pkg       *archive.PackageError
		signature *archive.SignatureError
		rule      *policy.Error
		order     *policy.WorkOrderError
		broken    *ledger.IntegrityError
		request   *host.RequestError
		module    *host.ModuleError
		refused   *plane.RefusedError
		mismatch  *plane.MismatchError
		pending   *plane.UnfinishedError
		unknown   *record.UnknownHostError
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &refused):
		f = &failure{message: refused.What, hint: refused.Hint, code: exitRefused}
		if refused.Code == plane.CodeIntegrity {
			f.code = exitIntegrity
		}
	case errors.As(err, &mismatch):
		f = &failure{message: mismatch.Error(), hint: mismatch.Hint, code: exitIntegrity}
		if strings.HasPrefix(mismatch.Path, "planes/") {
			f.hint += "; agenthost integrity-check tells what else is not what it was"
		}
	case errors.As(err, &unknown):
		f = &failure{message: err.Error(), hint: unknownHostHint(unknown), code: exitRefused}
	case errors.Is(err, plane.ErrChanged):
		f = &failure{message: err.Error(), hint: "nothing was done; do it again", code: exitHost}
	case errors.As(err, &pending):
		f = &failure{message: err.Error(), hint: "the next command in this control plane puts them there; make room and the folder writable", code: exitHost}
	case errors.As(err, &violation):
		f = &failure{message: violation.Error(), code: exitBlocked}
		if violation.SmallestGrant != "" {
			f.hint = "the smallest grant that allows it is " + violation.SmallestGrant
		}
	case errors.As(err, &manifest):
		f = manifestFailure(manifest)
		f.message = around(err, manifest) + f.message
		for _, m := range manifest.Also {
			f.also = append(f.also, manifestFailure(m))
		}
	case errors.As(err, &pkg):
		f = &failure{message: around(err, pkg) + located("package", pkg.Where, pkg.What), hint: pkg.Hint, code: exitUsage}
		if f.hint == "" {
			f.hint = "make it anew with agenthost package pack"
		}
	case errors.As(err, &signature):
		f = &failure{message: signature.Error(), hint: signature.Hint, code: exitRefused}
	case errors.As(err, &request):
		f = &failure{message: request.What, hint: request.Hint, code: exitUsage}
	case errors.As(err, &module):
		f = &failure{message: module.Error(), hint: "build the agent with an ordinary toolchain for WASI preview 1", code: exitUsage}
	case errors.As(err, &rule):
		f = &failure{message: rule.Error(), hint: rule.Hint, code: exitUsage}
	case errors.As(err, &grant):
		f = &failure{message: grant.Error(), hint: grant.Hint, code: exitUsage}
	case errors.As(err, &broken):
		f = &failure{message: err.Error(), hint: "the entries before it are intact; do not trust what comes after; agenthost ledger repair SESSION says what would be lost", code: exitIntegrity}
	case errors.As(err, &order):
		f = &failure{message: order.Error(), hint: order.Hint, code: exitRefused}
	case errors.Is(err, policy.ErrNotAccepted):
		f = &failure{message: err.Error(), hint: "accept it with --accept DIGEST, or run it with --without execute", code: exitRefused}
	default:
		f = &failure{message: err.Error(), code: exitHost}
	}
	f.err = err
	return f
}

// unknownHostHint says how to trust a host. The name of a key that is none of
// agenthost's may hold anything, and is not for a shell.
func unknownHostHint(e *record.UnknownHostError) string {
	if e.Host.Name() != hostkey.Name {
		return "its key is none that agenthost makes: do not trust it"
	}
	return "if you know whose it is, and that this came from there: agenthost ledger trust " + e.Host.String()
}

func manifestFailure(m *archive.ManifestError) *failure {
	f := &failure{message: located(archive.ManifestName, m.Where, m.What), hint: m.Hint, code: exitUsage}
	if f.hint == "" {
		f.hint = "agenthost schema manifest describes what can stand there"
	}
	return f
}

// around is what was said around an error: the file it was found in.
func around(whole, inner error) string { return strings.TrimSuffix(whole.Error(), inner.Error()) }

func located(what, where, why string) string {
	if where == "" {
		return what + ": " + why
	}
	return what + ": " + where + ": " + why
}
