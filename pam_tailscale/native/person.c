/* See person.h. */
#include "person.h"

#include <stdlib.h>
#include <string.h>

#include <security/pam_ext.h>

#include "text.h"

void
person_begin(struct person *person, const struct login *login)
{
	person->login = login;
	person->note_count = 0;
}

void
person_keep_note(const char *text, void *context)
{
	struct person *person = context;
	size_t length = strnlen(text, TSW_TEXT_MAX);

	if (person->note_count == NOTES_MAX)
		return;
	memcpy(person->notes[person->note_count], text, length);
	person->notes[person->note_count++][length] = '\0';
}

bool
person_prompt(const char *text, void *context)
{
	const struct person *person = context;
	char clean[TSW_PROMPT_MAX + 1], *typed = NULL;
	int code;

	if (person->login->silent)
		return false;
	text_for_person(text, clean, sizeof(clean));
	code = pam_prompt(person->login->pamh, PAM_PROMPT_ECHO_ON, &typed, "%s", clean);
	if (typed == NULL)
		return false;
	/* It may be a password, typed from habit. */
	explicit_bzero(typed, strlen(typed));
	free(typed);
	return code == PAM_SUCCESS;
}

void
person_show(const struct login *login, int style, const char *text)
{
	char clean[TSW_TEXT_MAX + 1];

	if (login->silent || *text == '\0')
		return;
	text_for_person(text, clean, sizeof(clean));
	(void)pam_prompt(login->pamh, style, NULL, "%s", clean);
}

void
person_show_notes(const struct person *person)
{
	size_t i;

	for (i = 0; i < person->note_count; i++)
		person_show(person->login, PAM_TEXT_INFO, person->notes[i]);
}
