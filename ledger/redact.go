package ledger

// Redact makes the texts of all entries that are written from now on what redact
// makes of them, before they are hashed: strings that a [Body] writes with
// [Members.Str] and [Members.Name]. Nil leaves them as they are. What redact gives
// must be UTF-8; it is called under the log's lock and must not call the log.
// Entries that are computed from others, as evidence is, must be computed from what
// was written.
func (l *Log) Redact(redact func(string) string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.redact = redact
}
