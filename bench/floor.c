/*
 * The floor under a login: a PAM module that lets everybody in and turns Nagle's algorithm off as ours does, with the same
 * function. For the benchmark's own sandboxes alone.
 */
#include <stdlib.h>

#include <security/pam_modules.h>

#include "sockets.h"

static int
permit(pam_handle_t *pamh)
{
	const char *text = pam_getenv(pamh, "SSH_CONNECTION");
	struct connection connection;

	if (text != NULL && endpoints_parse(text, &connection.client, &connection.server))
		sockets_set_nodelay(sockets_find(&connection));
	return PAM_SUCCESS;
}

int
pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)flags, (void)argc, (void)argv;
	return permit(pamh);
}

int
pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}

int
pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}

int
pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}

int
pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}
