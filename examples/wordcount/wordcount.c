/*
 * Wordcount is an agent without an SDK and without a JSON library: it counts the
 * words of the files its turn declares to read.
 *
 *   clang --target=wasm32-wasi -O2 -s wordcount.c -o agent.wasm
 *
 * The request is one line of JSON on standard input. Its members come in one
 * order, without space between them, and declared_inputs before the query:
 * before anything another can choose.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, const char *which) {
	fprintf(stderr, "wordcount: %s%s\n", what, which);
	exit(1);
}

/* read_all returns what is in f, and a zero byte after it. */
static char *read_all(FILE *f) {
	size_t size = 0, room = 4096, n;
	char *text = malloc(room);
	while (text != NULL && (n = fread(text + size, 1, room - size - 1, f)) > 0)
		if ((size += n) == room - 1) text = realloc(text, room *= 2);
	if (text == NULL || ferror(f)) fail("cannot read the request", "");
	text[size] = '\0';
	return text;
}

/* after returns what follows word, which s must begin with. */
static char *after(const char *word, char *s) {
	if (strncmp(s, word, strlen(word)) != 0) fail("not a request: want ", word);
	return s + strlen(word);
}

/*
 * unquote writes the string whose text begins at s to name, and returns its
 * closing quote. Of the escapes it knows those of a quote and a backslash; what
 * the others stand for, such as a line break, is in no name here.
 */
static char *unquote(char *s, char *name) {
	for (; *s != '"'; s++) {
		if (*s == '\\' && *++s != '"' && *s != '\\') fail("a strange name: ", s - 1);
		if (*s == '\0') fail("not a request: it ends in a name", "");
		*name++ = *s;
	}
	*name = '\0';
	return s;
}

static long count_words(const char *name) {
	FILE *f = fopen(name, "rb");
	if (f == NULL) fail("cannot open ", name);
	long words = 0;
	int c, inside = 0;
	while ((c = getc(f)) != EOF) {
		words += !isspace(c) && !inside;
		inside = !isspace(c);
	}
	if (ferror(f)) fail("cannot read ", name);
	fclose(f);
	return words;
}

int main(void) {
	char *request = read_all(stdin);
	char *name = malloc(strlen(request) + 1); /* no name is longer */
	char *at = strstr(request, "\"declared_inputs\":[");
	if (name == NULL || at == NULL) fail("not a request: no declared_inputs", "");
	at = after("\"declared_inputs\":[", at);

	long total = 0;
	printf("{\"files\":[");
	while (*at == '{') {
		char *path = after("{\"path\":\"", at);
		at = unquote(path, name);
		long words = count_words(name);
		printf("{\"path\":\"%.*s\",\"words\":%ld}", (int)(at - path), path, words);
		total += words;
		at = after("}", at + strcspn(at, "}"));
		if (*at == ',') putchar(*at++);
	}
	printf("],\"words\":%ld}\n", total);
	return 0;
}
