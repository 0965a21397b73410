import java.util.Arrays;
import java.util.stream.Collectors;

public class Main {
    public static void main(String[] words) {
        System.out.println(Arrays.stream(words).map(String::toUpperCase).sorted().collect(Collectors.joining(" ")));
    }
}
