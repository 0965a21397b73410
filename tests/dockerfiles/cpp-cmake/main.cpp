#include <cstdlib>
#include <iostream>
#include <vector>

int main(int argc, char **argv)
{
    const int limit = argc > 1 ? std::atoi(argv[1]) : 100;
    std::vector<bool> composite(limit + 1);
    for (int i = 2; i <= limit; ++i) {
        if (composite[i])
            continue;
        std::cout << i << ' ';
        for (int j = i * 2; j <= limit; j += i)
            composite[j] = true;
    }
    std::cout << '\n';
}
