package ledgertest

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// A Verdict is what one who checks a session says, in words.
type Verdict string

// The verdicts.
const (
	Verified      Verdict = "VERIFIED"
	SignerUnknown Verdict = "INTACT BUT SIGNER UNKNOWN"
	Broken        Verdict = "BROKEN"
)

// ErrNoPython means that the other verifier cannot run here.
var ErrNoPython = errors.New("python3 is not here; make tools brings it")

// Verify runs the other verifier, verify.py in the folder testdata of package
// ledger, with its arguments, and returns its verdict and all that it printed. The
// error is [ErrNoPython], or that verdict and status do not fit.
func Verify(script string, args ...string) (Verdict, string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", "", ErrNoPython
	}
	out, err := exec.Command(python, append([]string{"-I", script}, args...)...).CombinedOutput()
	status := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		return "", "", err
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(out)), ":")
	verdict := Verdict(word)
	if want, ok := map[Verdict]int{Verified: 0, SignerUnknown: 6, Broken: 4}[verdict]; !ok || want != status {
		return "", string(out), fmt.Errorf("%s ended with status %d and printed: %s", script, status, out)
	}
	return verdict, string(out), nil
}
