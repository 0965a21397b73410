fn roman(mut number: u32) -> String {
    let digits = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
        (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ];
    let mut text = String::new();
    for (value, digit) in digits {
        while number >= value {
            text.push_str(digit);
            number -= value;
        }
    }
    text
}

fn main() {
    for word in std::env::args().skip(1) {
        println!("{}", roman(word.parse().expect("a number")));
    }
}

#[test]
fn nine_is_ix() {
    assert_eq!(roman(9), "IX");
}
