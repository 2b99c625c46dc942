package gate

// Digests remembers what files hold for as long as their identity stands. It is
// safe for concurrent use; the zero value remembers nothing yet.
type Digests struct{}
