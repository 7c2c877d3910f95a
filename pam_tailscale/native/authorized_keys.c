/*
 * The AuthorizedKeysCommand: prints the offered key when the agent lets its connection in, and nothing otherwise. So a
 * client that cannot do the method `none` gets in with any key; who it is says its connection, not the key. Where the
 * agent's rule limits what a login may do, the key stands behind the options that make sshd enforce it.
 *
 *   authorized-keys [OPTION...] %u %t %k %C                   OpenSSH from 9.4, AuthorizedKeysCommandUser pam-tailscale-keys
 *   authorized-keys run_as=UID:GID [OPTION...] %u %t %k       before 9.4, AuthorizedKeysCommandUser root
 *
 * Which of the two it is follows from the uid alone, because what strangers choose (a user name may look like an option)
 * must not decide it. Options: see options.h. Older OpenSSH has no %C; there the connection is taken from the parent's
 * socket, which needs root, and root is given up for good before the key is looked at.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <syslog.h>
#include <unistd.h>

#include "agent_client.h"
#include "connection.h"
#include "key_options.h"
#include "options.h"
#include "sockets.h"
#include "text.h"

#define EXIT_MISUSED 1

/* Words of the offered key: longer than anything sshd itself accepts. */
#define TYPE_MAX 64
#define KEY_MAX 16384

#define TYPE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@"
#define KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/="

struct offer {
	const char *user;
	const char *type;
	const char *key;
};

struct run_as {
	uid_t uid;
	gid_t gid;
};

static int
misused(const char *what, const char *value)
{
	char quoted[TEXT_LOG_SIZE];

	text_for_log(value, quoted, sizeof(quoted));
	syslog(LOG_ERR, "%s: %s; correct AuthorizedKeysCommand in sshd's configuration", what, quoted);
	return EXIT_MISUSED;
}

static void
log_denial(const struct offer *offer, const char *reason, const char *detail)
{
	char user[TEXT_LOG_SIZE], quoted[TEXT_LOG_SIZE];

	text_for_log(offer->user, user, sizeof(user));
	text_for_log(detail, quoted, sizeof(quoted));
	syslog(LOG_ERR, "decision=deny reason=%s user=%s method=" TSW_METHOD_PUBLICKEY " detail=%s", reason, user, quoted);
}

/* A part of it as root would be worse than none, so nothing but two numbers above zero is taken. */
static bool
parse_run_as(const char *text, struct run_as *ret)
{
	char uid_text[sizeof("4294967295")];
	const char *colon = strchr(text, ':');
	unsigned long uid, gid;
	size_t length;

	if (colon == NULL || (length = (size_t)(colon - text)) >= sizeof(uid_text))
		return false;
	memcpy(uid_text, text, length);
	uid_text[length] = '\0';
	if (!option_number(uid_text, 1, UINT32_MAX - 1, &uid) || !option_number(colon + 1, 1, UINT32_MAX - 1, &gid))
		return false;
	ret->uid = (uid_t)uid;
	ret->gid = (gid_t)gid;
	return true;
}

/* Returns the argument that cannot be used, or NULL. */
static const char *
parse_options(int count, char **arguments, struct options *options, struct run_as *run_as)
{
	const char *bad = NULL, *value;
	int i;

	options_begin(options);
	for (i = 0; i < count; i++) {
		value = option_value(arguments[i], "run_as");
		if (value != NULL ? !parse_run_as(value, run_as) : !options_take(options, arguments[i]))
			bad = arguments[i];
	}
	options_finish(options, bad != NULL);
	return bad;
}

/* Only true when there is no way back: all three ids, the groups, and no gain from any program. */
static bool
drop_root(const struct run_as *run_as)
{
	if (setgroups(0, NULL) != 0 || setresgid(run_as->gid, run_as->gid, run_as->gid) != 0 ||
	    setresuid(run_as->uid, run_as->uid, run_as->uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	return setuid(0) != 0 && setgid(0) != 0 && geteuid() == run_as->uid && getegid() == run_as->gid;
}

/*
 * sshd's %C is "server port client port", whatever its manual says (auth2-pubkey.c, user_key_allowed). Should that ever
 * change, the agent finds that the server's address is not its own and refuses.
 */
static bool
parse_connection(const char *text, struct connection *ret)
{
	return endpoints_parse(text, &ret->server, &ret->client);
}

static bool
is_made_of(const char *text, const char *characters, size_t max)
{
	size_t length = strspn(text, characters);

	return length > 0 && length <= max && text[length] == '\0';
}

static void
print_key(const struct offer *offer, const char *options)
{
	const char *separator = *options == '\0' ? "" : " ";

	if (printf("%s%s%s %s\n", options, separator, offer->type, offer->key) > 0)
		(void)fflush(stdout);
}

static void
print_limited_key(const struct offer *offer, const char *options)
{
	if (key_options_are_valid(options))
		print_key(offer, options);
	else
		log_denial(offer, "agent_answer_damaged", "the key's options do not have the form that they must have");
}

static void
decide(const struct options *options, const struct connection *connection, const struct offer *offer)
{
	struct agent_request request;
	struct agent_verdict verdict;
	int r;

	if (offer->user[0] == '\0' || strlen(offer->user) > TSW_USER_MAX) {
		log_denial(offer, "bad_user", "the account name is empty or too long");
		return;
	}
	if (!is_made_of(offer->type, TYPE_CHARACTERS, TYPE_MAX) || !is_made_of(offer->key, KEY_CHARACTERS, KEY_MAX)) {
		log_denial(offer, "bad_key", "the type or the key has characters or a length that no key has");
		return;
	}
	decide_request(&request, offer->user, connection, TSW_METHOD_PUBLICKEY, TSW_PHASE_AUTH, TSW_MODE_ENFORCE);
	if (strlen(offer->key) <= TSW_OFFERED_MAX)
		agent_request_add(&request, TSW_KEY_OFFERED, offer->key);
	r = agent_ask(&options->agent, &request, NULL, &verdict);
	if (r < 0)
		log_denial(offer,
		    r == -EBADMSG || r == -EMSGSIZE ? "agent_answer_damaged" : "agent_unreachable", strerror(-r));
	else if (verdict.limited)
		print_limited_key(offer, verdict.options);
	else if (verdict.allow)
		print_key(offer, "");
}

static int
run_as_helper(int argc, char **argv)
{
	struct run_as run_as = { .uid = 0 };
	struct connection connection;
	struct options options;
	struct offer offer;
	const char *bad;

	if (argc < 5)
		return misused("needs %u %t %k %C; the last argument is", argv[argc - 1]);
	bad = parse_options(argc - 5, argv + 1, &options, &run_as);
	if (bad != NULL || run_as.uid != 0)
		return misused("an option is unknown, malformed, or only for root", bad == NULL ? "run_as" : bad);
	offer = (struct offer){ argv[argc - 4], argv[argc - 3], argv[argc - 2] };
	if (!parse_connection(argv[argc - 1], &connection))
		log_denial(&offer, "connection_unreadable", "%C is malformed");
	else if (networks_hold(&options.networks, &connection))
		decide(&options, &connection, &offer);
	return 0;
}

static int
run_as_root(int argc, char **argv)
{
	struct run_as run_as = { .uid = 0 };
	struct connection connection;
	struct options options;
	struct offer offer;
	const char *bad;
	pid_t parent;
	int r;

	if (argc < 5)
		return misused("as root it needs run_as=UID:GID %u %t %k; the last argument is", argv[argc - 1]);
	bad = parse_options(argc - 4, argv + 1, &options, &run_as);
	if (bad != NULL || run_as.uid == 0)
		return misused("as root it needs run_as=UID:GID and valid options", bad == NULL ? "run_as" : bad);
	parent = getppid();
	r = sockets_of_process(parent, &options.networks, &connection);
	/* If sshd ended in between, the number may have been another process. */
	if (getppid() != parent)
		return 0;
	if (!drop_root(&run_as))
		return misused("cannot give up root", strerror(errno));
	offer = (struct offer){ argv[argc - 3], argv[argc - 2], argv[argc - 1] };
	if (r == 0)
		decide(&options, &connection, &offer);
	else if (r != -ENOENT)
		log_denial(&offer, "connection_unreadable", strerror(-r));
	return 0;
}

int
main(int argc, char **argv)
{
	openlog("pam-tailscale-authorized-keys", LOG_PID, LOG_AUTHPRIV);
	if (argc < 1)
		return EXIT_MISUSED;
	/* sshd closes the pipe as soon as it has seen the key; that is no failure of ours. */
	signal(SIGPIPE, SIG_IGN);
	return geteuid() == 0 || getuid() == 0 ? run_as_root(argc, argv) : run_as_helper(argc, argv);
}
