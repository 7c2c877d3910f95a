/* See sockets.h. */
#include "sockets.h"

#include <dirent.h>
#include <errno.h>
#include <linux/in6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
socket_number(int fd, int option)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

static bool
to_endpoint(const struct sockaddr_storage *from, struct endpoint *ret)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	memset(ret, 0, sizeof(*ret));
	if (from->ss_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		memset(ret->address.s6_addr + 10, 0xff, 2);
		memcpy(ret->address.s6_addr + 12, &v4.sin_addr, sizeof(v4.sin_addr));
		ret->port = ntohs(v4.sin_port);
		return true;
	}
	if (from->ss_family != AF_INET6)
		return false;
	memcpy(&v6, from, sizeof(v6));
	ret->address = v6.sin6_addr;
	ret->port = ntohs(v6.sin6_port);
	return true;
}

/* FOUND_NOTHING: not a TCP connection. The other end is taken for the client: sshd never connects to one. */
static enum found
read_connection(int fd, struct connection *ret)
{
	struct sockaddr_storage peer, local;
	socklen_t peer_size = sizeof(peer), local_size = sizeof(local);
	int domain = socket_number(fd, SO_DOMAIN);

	if ((domain != AF_INET && domain != AF_INET6) || socket_number(fd, SO_TYPE) != SOCK_STREAM ||
	    socket_number(fd, SO_ACCEPTCONN) == 1)
		return FOUND_NOTHING;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0 ||
	    getsockname(fd, (struct sockaddr *)&local, &local_size) != 0)
		return FOUND_UNREADABLE;
	if (!to_endpoint(&peer, &ret->client) || !to_endpoint(&local, &ret->server))
		return FOUND_UNREADABLE;
	return FOUND_OURS;
}

/* The next descriptor a folder like /proc/self/fd lists, -1 at its end. */
static int
next_descriptor(DIR *folder)
{
	struct dirent *entry;

	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			return (int)strtol(entry->d_name, NULL, 10);
	return -1;
}

enum found
sockets_look(const struct networks *networks)
{
	DIR *folder = opendir("/proc/self/fd");
	enum found found, worst = FOUND_NOTHING;
	struct connection connection;
	int fd;

	if (folder == NULL)
		return FOUND_UNREADABLE;
	while ((fd = next_descriptor(folder)) >= 0) {
		found = read_connection(fd, &connection);
		if (found == FOUND_UNREADABLE)
			worst = FOUND_UNREADABLE;
		else if (found == FOUND_OURS && worst == FOUND_NOTHING && networks_hold(networks, &connection))
			worst = FOUND_OURS;
	}
	closedir(folder);
	return worst;
}

static bool
same_endpoint(const struct endpoint *one, const struct endpoint *other)
{
	return one->port == other->port && memcmp(&one->address, &other->address, sizeof(one->address)) == 0;
}

static bool
same_connection(const struct connection *one, const struct connection *other)
{
	return same_endpoint(&one->client, &other->client) && same_endpoint(&one->server, &other->server);
}

/* Several descriptors of it are one and the same socket. */
int
sockets_find(const struct connection *connection)
{
	DIR *folder = opendir("/proc/self/fd");
	struct connection found;
	int fd;

	if (folder == NULL)
		return -1;
	while ((fd = next_descriptor(folder)) >= 0)
		if (read_connection(fd, &found) == FOUND_OURS && same_connection(&found, connection))
			break;
	closedir(folder);
	return fd;
}

void
sockets_set_nodelay(int fd)
{
	int on = 1;

	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* The kernel keeps the interface the handshake came by; asking for it must not change the socket for sshd. */
unsigned int
sockets_interface(int fd)
{
	char buffer[256];
	struct cmsghdr *header;
	struct in_pktinfo v4;
	struct in6_pktinfo v6;
	struct msghdr message = { .msg_control = buffer };
	socklen_t size = sizeof(buffer);
	bool is_v6 = socket_number(fd, SO_DOMAIN) == AF_INET6;
	int level = is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, wanted = is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO;
	int before = 0, on = 1, r;
	socklen_t before_size = sizeof(before);

	if (getsockopt(fd, level, wanted, &before, &before_size) != 0 ||
	    setsockopt(fd, level, wanted, &on, sizeof(on)) != 0)
		return 0;
	r = getsockopt(fd, level, is_v6 ? IPV6_2292PKTOPTIONS : IP_PKTOPTIONS, buffer, &size);
	(void)setsockopt(fd, level, wanted, &before, sizeof(before));
	if (r != 0)
		return 0;
	message.msg_controllen = size;
	for (header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO &&
		    header->cmsg_len >= CMSG_LEN(sizeof(v4))) {
			memcpy(&v4, CMSG_DATA(header), sizeof(v4));
			return v4.ipi_ifindex > 0 ? (unsigned int)v4.ipi_ifindex : 0;
		}
		if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO &&
		    header->cmsg_len >= CMSG_LEN(sizeof(v6))) {
			memcpy(&v6, CMSG_DATA(header), sizeof(v6));
			return v6.ipi6_ifindex;
		}
	}
	return 0;
}

/* pidfd_getfd() gives us the very socket, so that no table has to be searched and no number can be reused meanwhile. */
static enum found
read_foreign(int process, int fd, struct connection *ret)
{
	int copy = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
	enum found found;

	if (copy < 0)
		return errno == EBADF ? FOUND_NOTHING : FOUND_UNREADABLE;
	found = read_connection(copy, ret);
	close(copy);
	return found;
}

static int
search(int process, DIR *folder, const struct networks *networks, struct connection *ret)
{
	struct connection connection;
	int fd, r = -ENOENT;

	while ((fd = next_descriptor(folder)) >= 0) {
		switch (read_foreign(process, fd, &connection)) {
		case FOUND_UNREADABLE:
			return -EIO;
		case FOUND_OURS:
			if (!networks_hold(networks, &connection))
				break;
			if (r == 0 && !same_connection(&connection, ret))
				return -ENOTUNIQ;
			*ret = connection;
			r = 0;
			break;
		default:
			break;
		}
	}
	return r;
}

int
sockets_of_process(pid_t pid, const struct networks *networks, struct connection *ret)
{
	char path[sizeof("/proc/2147483647/fd")];
	DIR *folder;
	int process, r;

	process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	folder = opendir(path);
	r = folder == NULL ? -errno : search(process, folder, networks, ret);
	if (folder != NULL)
		closedir(folder);
	close(process);
	return r;
}
