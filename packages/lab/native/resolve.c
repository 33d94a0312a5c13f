// Looks names up as programs do, by the C library's resolver: resolve NAME 4|6. Prints one address
// per line, or the error. Built with glibc and, statically, with musl.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = {};
	struct addrinfo *found;

	if (argc != 3) {
		fprintf(stderr, "usage: resolve NAME 4|6\n");
		return 2;
	}
	hints.ai_family = strcmp(argv[2], "6") == 0 ? AF_INET6 : AF_INET;
	hints.ai_socktype = SOCK_STREAM;
	int error = getaddrinfo(argv[1], NULL, &hints, &found);
	if (error != 0) {
		printf("error: %s\n", gai_strerror(error));
		return 1;
	}
	for (struct addrinfo *entry = found; entry != NULL; entry = entry->ai_next) {
		char text[INET6_ADDRSTRLEN];
		const void *address =
		    entry->ai_family == AF_INET6
			? (const void *)&((struct sockaddr_in6 *)entry->ai_addr)->sin6_addr
			: (const void *)&((struct sockaddr_in *)entry->ai_addr)->sin_addr;
		printf("%s\n", inet_ntop(entry->ai_family, address, text, sizeof(text)));
	}
	freeaddrinfo(found);
	return 0;
}
