"""Which tags describe who is shown, by kind: a table of patterns, `*` standing for any text.

Identity is what stays with a character from image to image when the clothes change: hair, eyes,
the body with its marks and animal parts, and what is worn on head, face, neck and hands like
jewellery. Clothes with hats and ribbons on them, poses, expressions, passing states (wet, floating,
hair let down, heart-shaped pupils), ways of drawing (eyes visible through hair, shiny skin) and parts
that are merely in view (navel, thighs) are not.
"""

from __future__ import annotations

from typing import Literal

from .tag_text import split_tags

IdentityKind = Literal["hair", "eyes", "body", "accessories"]

_COLOURS = split_tags(
    "amber, aqua, black, blonde, blue, brown, gold, golden, gray, green, grey, hazel, orange, pink, "
    "purple, red, silver, teal, violet, white, yellow"
)
_SPECIES = split_tags(
    "angel, animal, ant, arthropod, bat, bear, bee, bird, bull, bunny, butterfly, cat, cow, deer, "
    "demon, devil, dog, dragon, fairy, fish, fox, frog, goat, goblin, horse, insect, leopard, lion, "
    "lizard, monkey, monster, moth, mouse, oni, otter, owl, panda, plant, rabbit, raccoon, shark, "
    "sheep, slime, snake, spider, squirrel, tanuki, tiger, vampire, weasel, wolf, zombie"
)

NOT_IDENTITY = split_tags(
    # something is done, or is not there
    "adjusting *, alternate *, applying *, biting *, braiding *, brushing *, bunching *, closed *, "
    "covered *, covering *, crying *, cum *, cutting *, drying *, ejaculat*, floating *, grabbing *, "
    "half-closed *, hand *, hands *, holding *, licking *, looking *, matching *, no *, "
    "official alternate *, open *, playing *, pulling *, removing *, rolling *, rubbing *, "
    "ruffling *, shared *, spread *, stuffed *, touching *, tying *, unworn *, wet *, "
    "* censor, * connection, * focus, * grab, * in mouth, * lift, * pull, * removed, * strap, "
    "*'s hair, * through *, * with own hair, "
    # hair
    "* by hair, * in hair, * in own hair, * on hair, detached hair, expressive hair, glowing hair, "
    "hair brush, hair color *, hair dryer, shiny hair, "
    # eyes
    "blank eyes, constricted pupils, dilated pupils, glowing *, heart-shaped pupils, "
    # body
    "anal tail, deep skin, ear blush, ears down, fake facial hair, fake mustache, hair on horn, hat with *, pubic hair peek, shiny skin, "
    # accessories
    "* sailor collar, *-trimmed collar, boxing ring, curtain ring, detached collar, fur collar, "
    "high collar, key ring, lipstick mark, lipstick tube, magnifying *, mandarin collar, "
    "open collar, popped collar, sailor collar, shirt collar, * shirt collar, swim ring, "
    "wing collar, wine glasses, wrestling ring, drinking glasses"
)

_ACCESSORIES = split_tags(
    # hair and head
    "hair ornament, * hair ornament, *hairclip, *hairclips, *hairpin, *hairpins, *hairband, "
    "*headband, hair beads, hair bell, hair bells, *hair bobbles, *hair bow, * hair bows, "
    "hair flower, *hair ribbon, *hair ribbons, hair stick, *hair tie, *hair tubes, hairpods, "
    "kanzashi, *scrunchie, *circlet, *crown, diadem, *headdress, headgear, *headpiece, *tiara, "
    "*halo, head wreath, flower wreath, forehead jewel, forehead protector, bindi, bun cover, head chain, "
    # face
    "glasses, * glasses, *sunglasses, *eyewear, eyewear on *, *monocle, goggles, * goggles, goggles on *, "
    "goggles around *, *eyepatch, mask, * mask, mask on *, * mask on *, mask around neck, bandage over one eye, "
    "bandaid on cheek, bandaid on face, bandaid on forehead, bandaid on nose, makeup, *lipstick, *eyeshadow, *eyeliner, "
    "mascara, facepaint, "
    # ears, horns, tail
    "*earring, *earrings, *piercing, *piercings, earclip, ear cuff, ear ornament, ear tag, ear bow, ear covers, single ear cover, "
    "ear ribbon, *earphones, *earbuds, earmuffs, earpiece, *headphones, headphones around neck, "
    "*headset, horn ornament, horn ribbon, horn bow, tail ornament, tail ribbon, tail bow, "
    "tail bell, tail ring, fake animal ears, fake antlers, fake horns, fake tail, fake wings, "
    # neck and hands
    "*choker, *necklace, pendant, locket, dog tags, collar, * collar, neck bell, neck ring, "
    "*brooch, chest jewel, jewelry, *bracelet, *bracelets, *bangle, *bangles, *armlet, *anklet, ring, rings, "
    "* ring, * rings, wristwatch, watch, wristband, nail polish, toenail polish, nail art, * nails"
)
_BODY = split_tags(
    # skin and marks
    "* skin, *-skinned *, tan, * tan, tanlines, *freckles, mole, moles, mole *, *birthmark, multiple moles, scar, "
    "scars, * scar, * scars, scar *, *tattoo, *tattoos, hand tattoo, *facial mark, forehead mark, *markings, "
    "stitches, vitiligo, "
    # shape and age
    "flat chest, small breasts, medium breasts, large breasts, huge breasts, gigantic breasts, "
    "sagging breasts, perky breasts, large pectorals, dark nipples, huge nipples, inverted nipples, "
    "puffy nipples, dark areolae, large areolae, abs, muscular, muscular *, toned, toned *, chubby, "
    "curvy, fat, fat man, flat ass, huge ass, narrow waist, petite, plump, shortstack, skinny, slim, "
    "tall, tall female, tall male, thick lips, thick thighs, wide hips, child, female child, loli, "
    "male child, mature *, old, old man, old woman, elderly, shota, "
    # hair elsewhere
    "beard, * beard, facial hair, goatee, mustache, * mustache, *sideburns, stubble, armpit hair, "
    "arm hair, body hair, chest hair, hairy, leg hair, navel hair, anal hair, pubic hair, * pubic hair, "
    # animal and other parts
    "animal nose, pointy nose, whiskers, fang, fangs, * fang, * fangs, fang out, fangs out, "
    "buck teeth, gap teeth, sharp teeth, tusks, colored tongue, forked tongue, long tongue, "
    "sharp fingernails, *long fingernails, long toenails, sharp toenails, claws, ears, * ears, notched ear, animal ear fluff, tail, "
    "* tail, * tails, tail feathers, horn, horns, * horn, * horns, *antlers, antennae, *wings, single wing, "
    "winged arms, fins, head fins, gills, scales, body fur, fur, hooves, snout, beak, extra arms, "
    "multiple arms, multiple heads, extra eyes, third eye, mechanical arm, mechanical arms, single mechanical arm, "
    "mechanical leg, mechanical legs, mechanical parts, prosthe*, amputee, robot joints, "
    "doll joints, "
    # species
    "android, angel, centaur, cyborg, cyclops, dark elf, demon, dullahan, elf, fairy, furry, "
    "furry female, furry male, goblin, harpy, incubus, kitsune, lamia, merman, mermaid, nekomata, "
    "oni, orc, succubus, vampire, werewolf"
)
_EYES = split_tags(
    "artificial eye, bags under eyes, button eyes, cephalopod eyes, clock eyes, cross-eyed, eyebrow cut, "
    "flaming eye, flaming eyes, gradient eyes, heterochromia, jitome, mechanical eye, "
    "mechanical eyes, mismatched eyes, multicolored eyes, one-eyed, *pupils, ringed eyes, sanpaku, "
    "*sclera, star in eye, symbol in eye, tareme, tsurime, two-tone eyes, * eyelashes, "
    "big eyebrows, colored eyebrows, forked eyebrows, huge eyebrows, long eyebrows, "
    "mismatched eyebrows, short eyebrows, thick eyebrows, white eyebrows, unibrow"
)
_HAIR = split_tags(
    "* hair, *-haired *, short hair with *, afro, *ahoge, antenna hair, bald, *bangs, "
    "bangs pinned back, bob cut, bowl cut, *braid, *braids, braided *, buzz cut, circle cut, "
    "cornrows, double bun, *dreadlocks, drill locks, *drills, side drill, * hair bun, hair buns, "
    "hair bun, * bun, hair between eyes, hair ears, hair flaps, hair horns, hair intakes, "
    "single hair intake, hair over eyes, hair over one eye, hair pulled back, hair rings, "
    "single hair ring, hair slicked back, hime cut, mohawk, *pigtails, pixie cut, pompadour, "
    "*ponytail, quad tails, ringlets, sidecut, *sidelocks, one side up, two side up, topknot, "
    "tri tails, *twintails, twin drills, undercut, *updo, widow's peak"
)

IDENTITY: dict[IdentityKind, list[str]] = {
    # The first kind with a fitting pattern counts: a hair ornament is no hair.
    "accessories": [*_ACCESSORIES, *(f"{colour} lips" for colour in _COLOURS)],
    "body": [*_BODY, *(f"{kind} {who}" for kind in _SPECIES for who in ("girl", "boy"))],
    "eyes": [
        *_EYES,
        *(f"*{colour} eyes" for colour in _COLOURS),
        *(f"{colour}-eyed*" for colour in _COLOURS),
    ],
    "hair": _HAIR,
}
