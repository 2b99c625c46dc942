package main

import "errors"

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
	message string
	hint    string // empty when nothing is known to help
	code    int
	err     error // the cause, or nil
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
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{message: err.Error(), code: exitHost, err: err}
}
