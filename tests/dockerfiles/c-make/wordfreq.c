/* Prints the most frequent word of its input. */
#include <stdio.h>
#include <string.h>

#define MAX 1024

int main(void)
{
	static char words[MAX][64];
	static int counts[MAX];
	char word[64];
	int known = 0, best = 0, i;

	while (scanf("%63s", word) == 1) {
		for (i = 0; i < known && strcmp(words[i], word); i++)
			;
		if (i == MAX)
			break;
		if (i == known)
			strcpy(words[known++], word);
		if (++counts[i] > counts[best])
			best = i;
	}
	if (known)
		printf("%d %s\n", counts[best], words[best]);
	return 0;
}
