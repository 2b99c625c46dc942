// Ask is an agent that knows nothing but files: it writes standard input to the
// device file, and the reply to standard output. It needs none of the functions of
// the contract, and no JSON.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// copy writes what there is to read. A request without the newline at the end of
// its line, as a prompt comes, gets one.
static int copy(int from, int to, int request) {
	static char buf[65536];
	ssize_t n;
	while ((n = read(from, buf, sizeof buf)) > 0) {
		if (memchr(buf, '\n', n))
			request = 0;
		for (ssize_t done = 0, m; done < n; done += m)
			if ((m = write(to, buf + done, n - done)) < 0)
				return -1;
	}
	if (n == 0 && request && write(to, "\n", 1) < 0)
		return -1;
	return n;
}

int main(void) {
	int device = open("/.agenthost/call", O_RDWR);
	if (device < 0 || copy(0, device, 1) < 0 || copy(device, 1, 0) < 0) {
		perror("/.agenthost/call");
		return 1;
	}
	return 0;
}
