/* Everything that the person who logs in reads and answers, through sshd's conversation. */
#ifndef PERSON_H
#define PERSON_H

#include <stdbool.h>
#include <stddef.h>

#include "login.h"
#include "tailscale_wire.h"

#define NOTES_MAX 4

/* The person of one login, and the agent's lines for them, kept until the verdict is known. */
struct person {
	const struct login *login;
	char notes[NOTES_MAX][TSW_TEXT_MAX + 1];
	size_t note_count;
};

void person_begin(struct person *person, const struct login *login);

/* An agent_info_fn. Lines that are too many are dropped, a long one is cut. */
void person_keep_note(const char *text, void *context);

/*
 * An agent_prompt_fn. What is typed is wiped and goes nowhere: that somebody pressed Enter is all there is to know. False
 * also when the conversation succeeds without an answer, since then nobody was asked.
 */
bool person_prompt(const char *text, void *context);

void person_show_notes(const struct person *person);

/* `style` is PAM's: PAM_ERROR_MSG or PAM_TEXT_INFO. */
void person_show(const struct login *login, int style, const char *text);

#endif
